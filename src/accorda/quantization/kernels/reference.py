"""The reference: torch alone, on every device, and what the other kernels are held to.

A byte is looked up as the pair of values it stands for. The dense weight is formed piece by piece, so that nothing
but itself is as large as it is: 0.6 ns a number on one core, where bitsandbytes needs 0.15.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from accorda.quantization.kernels.contract import Packed
from accorda.quantization.kernels.table import PAIRS

PIECE = 1 << 20  # numbers formed at once


class Reference:
    """Dequantize, then multiply."""

    name = "reference"
    num_bytes = 0

    def runs_on(self, device: torch.device) -> bool:
        """Everywhere."""
        return True

    def rank(self, device_type: str) -> int | None:
        """Behind whatever else there is."""
        return 100

    def dequantize(self, weight: Packed, dtype: torch.dtype) -> Tensor:
        """The dense weight (out, in)."""
        outputs, inputs = weight.shape
        dense = torch.empty(outputs * inputs, dtype=dtype, device=weight.codes.device)
        scales, pairs, size = weight.scales()[:, None], PAIRS.to(weight.codes.device), weight.block_size
        for start, stop, width in _pieces(len(dense), size):
            codes = weight.codes.view(-1)[start // 2 : (stop + 1) // 2].int()
            values = pairs.index_select(0, codes).view(torch.float32)[: stop - start].view(-1, width)
            scale = scales[start // size : -(-stop // size)]
            torch.mul(values, scale, out=dense[start:stop].view(-1, width))
        return dense.view(outputs, inputs)

    def matmul(self, x: Tensor, weight: Packed) -> Tensor:
        """Inputs (..., in) to x @ W.T (..., out)."""
        return F.linear(x, self.dequantize(weight, x.dtype))

    def matmul_back(self, gradient: Tensor, weight: Packed) -> Tensor:
        """Gradients (..., out) to gradient @ W (..., in)."""
        return gradient @ self.dequantize(weight, gradient.dtype)


def _pieces(numbers: int, block_size: int) -> Iterator[tuple[int, int, int]]:
    """First and last number of each piece, and the width of its blocks: whole blocks, then the shorter last one."""
    whole, step = numbers - numbers % block_size, max(PIECE, block_size)
    for start in range(0, whole, step):
        yield start, min(start + step, whole), block_size
    if whole < numbers:
        yield whole, numbers, numbers - whole


KERNEL = Reference()
