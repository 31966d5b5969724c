"""A weight in 4-bit codes as kernels take it, and what a kernel offers. A kernel is one file with a `KERNEL`."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from accorda.quantization.double_quantization import dequantize_scales


@dataclass(frozen=True)
class Packed:
    """Codes of a weight (out, in), flattened row by row and cut into blocks; the last block may be shorter.

    codes: uint8 (numbers / 2, 1), two codes a byte, the earlier one in the high half.
    absmax: the scale of each block (blocks,): float32, or with double quantization a uint8 code.
    nested_absmax, offset: of double quantization, float32 (blocks / 256,) and (); None without it.
    """

    codes: Tensor
    absmax: Tensor
    nested_absmax: Tensor | None
    offset: Tensor | None
    shape: tuple[int, int]
    block_size: int

    def scales(self) -> Tensor:
        """The scale of each block, float32 (blocks,)."""
        if self.nested_absmax is None or self.offset is None:
            return self.absmax
        return dequantize_scales(self.absmax, self.nested_absmax, self.offset)

    @property
    def num_bytes(self) -> int:
        """Bytes it holds."""
        parts = (self.codes, self.absmax, self.nested_absmax, self.offset)
        return sum(part.nbytes for part in parts if part is not None)


class Kernel(Protocol):
    """One way to compute with such weights."""

    @property
    def name(self) -> str:
        """What the log calls it."""
        ...

    @property
    def num_bytes(self) -> int:
        """What importing it takes of the host's memory, about."""
        ...

    def runs_on(self, device: torch.device) -> bool:
        """Whether it can be used there: what it needs is installed, and it knows the device."""
        ...

    def rank(self, device_type: str) -> int | None:
        """Its place among those that run there, the lowest is taken; None: only where it is asked for."""
        ...

    def dequantize(self, weight: Packed, dtype: torch.dtype) -> Tensor:
        """The dense weight (out, in): code's value times scale in float32, rounded to dtype last."""
        ...

    def matmul(self, x: Tensor, weight: Packed) -> Tensor:
        """Inputs (..., in) to x @ W.T (..., out)."""
        ...

    def matmul_back(self, gradient: Tensor, weight: Packed) -> Tensor:
        """Gradients (..., out) to gradient @ W (..., in)."""
        ...
