"""bitsandbytes' own functions, where it is installed: its layout is ours, so nothing is converted.

Its `Linear4bit` is not used: on a CPU it packs weights anew, in place, at the first evaluation.
"""

from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from accorda.quantization.double_quantization import MAP, NESTED_BLOCK
from accorda.quantization.kernels.contract import Packed
from accorda.quantization.kernels.reference import KERNEL as REFERENCE
from accorda.quantization.kernels.table import NF4


class BitsAndBytes:
    """Dequantize by its functions; multiply by its fused kernel where the device has one."""

    name = "bitsandbytes"

    def runs_on(self, device: torch.device) -> bool:
        """On CPUs and GPUs, where it is installed."""
        return device.type in ("cpu", "cuda", "xpu") and find_spec("bitsandbytes") is not None

    def dequantize(self, weight: Packed, dtype: torch.dtype) -> Tensor:
        """The dense weight (out, in); the reference's where theirs is wrong: on a CPU, with blocks across rows."""
        if weight.codes.device.type == "cpu" and weight.shape[1] % weight.block_size:
            return REFERENCE.dequantize(weight, dtype)
        return _functional().dequantize_4bit(weight.codes, _state(weight, dtype))

    def matmul(self, x: Tensor, weight: Packed) -> Tensor:
        """Inputs (..., in) to x @ W.T (..., out)."""
        if x.device.type == "cpu":
            return F.linear(x, self.dequantize(weight, x.dtype))
        return _package().matmul_4bit(x, weight.codes, _state(weight, x.dtype))

    def matmul_back(self, gradient: Tensor, weight: Packed) -> Tensor:
        """Gradients (..., out) to gradient @ W (..., in)."""
        return gradient @ self.dequantize(weight, gradient.dtype)


@cache
def _package() -> Any:
    """Imported when first used: importing it takes seconds."""
    import bitsandbytes

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
