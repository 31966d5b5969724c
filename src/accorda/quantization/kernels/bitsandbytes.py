"""bitsandbytes' own functions, where it is installed: its layout is ours, so nothing is converted.

Its `Linear4bit` is not used: on a CPU it packs weights anew, in place, at the first evaluation.
"""

import logging
import sys
from functools import cache
from importlib.util import find_spec
from typing import Any, cast

import torch
from torch import Tensor

from accorda.quantization.double_quantization import MAP, NESTED_BLOCK
from accorda.quantization.kernels.contract import Packed
from accorda.quantization.kernels.reference import Reference
from accorda.quantization.kernels.table import NF4

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


class BitsAndBytes(Reference):
    """Dequantize by its functions; multiply by its fused kernel where the device has one."""

    name = "bitsandbytes"
    num_bytes = 48_000_000  # it imports torch's compiler

    def runs_on(self, device: torch.device) -> bool:
        """On CPUs and GPUs, where it is installed."""
        return device.type in ("cpu", "cuda", "xpu") and find_spec("bitsandbytes") is not None

    def rank(self, device_type: str) -> int | None:
        """Before the reference, which takes four times as long on a CPU."""
        return 50

    def dequantize(self, weight: Packed, dtype: torch.dtype) -> Tensor:
        """The dense weight (out, in); the reference's where theirs is wrong: on a CPU, with blocks across rows."""
        if (weight.codes.device.type == "cpu" and weight.shape[1] % weight.block_size) or dtype not in DTYPES:
            return super().dequantize(weight, dtype)
        return _functional().dequantize_4bit(weight.codes, _state(weight, dtype))

    def matmul(self, x: Tensor, weight: Packed) -> Tensor:
        """Inputs (..., in) to x @ W.T (..., out)."""
        if x.device.type == "cpu":
            return super().matmul(x, weight)
        return _package().matmul_4bit(x, weight.codes, _state(weight, x.dtype))


@cache
def _package() -> Any:
    """Imported when first used, in silence. What it would download of the package `kernels` meanwhile is left out."""
    logger, modules = logging.getLogger("bitsandbytes"), cast("dict[str, Any]", sys.modules)
    level, known = logger.level, modules.get("kernels", logger)
    logger.setLevel(logging.ERROR)
    modules["kernels"] = None
    try:
        import bitsandbytes
    finally:
        logger.setLevel(level)
        modules.pop("kernels")
        if known is not logger:
            modules["kernels"] = known
    return bitsandbytes


def _functional() -> Any:
    return _package().functional


def _state(weight: Packed, dtype: torch.dtype) -> Any:
    """What its functions take beside the codes."""
    make, device = _functional().QuantState, weight.codes.device
    shape, nested = torch.Size(weight.shape), None
    if weight.nested_absmax is not None:
        table = MAP.to(device)
        nested = make(absmax=weight.nested_absmax, code=table, blocksize=NESTED_BLOCK, dtype=torch.float32)
    return make(
        absmax=weight.absmax,
        shape=shape,
        code=NF4.to(device),
        blocksize=weight.block_size,
        quant_type="nf4",
        dtype=dtype,
        offset=weight.offset,
        state2=nested,
    )


KERNEL = BitsAndBytes()
