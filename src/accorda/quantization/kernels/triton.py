"""Triton, on CUDA: codes, scales and the scales of those are read where the product needs them; no dense weight.

A few rows are multiplied in one fused pass. Many rows would each time form the same weight again, tile by tile, so
from FUSED_ROWS on it is formed once and handed to the matrix library. Also runs on CPUs under TRITON_INTERPRET=1.
"""

from functools import cache
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from accorda.kernels import triton
from accorda.quantization.double_quantization import MAP, NESTED_BLOCK
from accorda.quantization.kernels.contract import Packed
from accorda.quantization.kernels.reference import Reference
from accorda.quantization.kernels.table import NF4

FUSED_ROWS = 64
SIZE = 1024
TILE = {"ROWS": 16, "COLUMNS": 64, "DEPTH": 64}


class Triton(Reference):
    """Fused for few rows; dequantize, then multiply, for many."""

    name = "triton"
    num_bytes = 0

    def runs_on(self, device: torch.device) -> bool:
        """On CUDA where it is installed; on a CPU where it interprets."""
        return triton.runs_on(device)

    def rank(self, device_type: str) -> int | None:
        """First on CUDA; interpreted it is slow and has no products in bfloat16, so only where it is asked for."""
        return 10 if device_type == "cuda" else None

    def dequantize(self, weight: Packed, dtype: torch.dtype) -> Tensor:
        """The dense weight (out, in)."""
        dense = torch.empty(weight.shape, dtype=dtype, device=weight.codes.device)
        grid = (-(-dense.numel() // SIZE),)
        _code().dequantize[grid](dense, dense.numel(), **_parts(weight), SIZE=SIZE, **triton.UNFUSED)
        return dense

    def matmul(self, x: Tensor, weight: Packed) -> Tensor:
        """Inputs (..., in) to x @ W.T (..., out)."""
        if x.numel() > FUSED_ROWS * x.shape[-1]:
            return super().matmul(x, weight)
        return _fused(x, weight, back=False)

    def matmul_back(self, gradient: Tensor, weight: Packed) -> Tensor:
        """Gradients (..., out) to gradient @ W (..., in)."""
        if gradient.numel() > FUSED_ROWS * gradient.shape[-1]:
            return super().matmul_back(gradient, weight)
        return _fused(gradient, weight, back=True)


def _fused(x: Tensor, weight: Packed, *, back: bool) -> Tensor:
    """Both products, in one pass over the packed weight."""
    rows, (N, K) = x.reshape(-1, x.shape[-1]).contiguous(), weight.shape
    width = K if back else N
    out = torch.empty(len(rows), width, dtype=x.dtype, device=x.device)
    grid = (-(-len(rows) // TILE["ROWS"]), -(-width // TILE["COLUMNS"]))
    exact = x.dtype == torch.float32
    _code().matmul[grid](out, rows, len(rows), N, K, **_parts(weight), BACK=back, EXACT=exact, **TILE, **triton.UNFUSED)
    return out.view(*x.shape[:-1], width)


def _parts(weight: Packed) -> dict[str, Any]:
    """The arguments that a weight is to the kernels; without double quantization, two of them are not read."""
    double = weight.nested_absmax is not None
    values, table = _tables(weight.codes.device)
    return {
        "codes": weight.codes,
        "absmax": weight.absmax,
        "nested": weight.nested_absmax if double else weight.absmax,
        "offset": weight.offset if double else weight.absmax,
        "values": values,
        "table": table,
        "BLOCK": weight.block_size,
        "NESTED": NESTED_BLOCK,
        "DOUBLE": double,
    }


@cache
def _tables(device: torch.device) -> tuple[Tensor, Tensor]:
    return NF4.to(device), MAP.to(device)


@cache
def _code() -> Any:
    return import_module("accorda.quantization.kernels.jit.four_bit")


KERNEL = Triton()
