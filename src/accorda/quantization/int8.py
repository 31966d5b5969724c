"""Weight-only 8-bit integers, row by row: Dettmers, Lewis, Belkada, Zettlemoyer, 2022, LLM.int8(), arXiv 2208.07339.

    SCB[o] = max_i |W[o, i]|        CB[o, i] = round(127 W[o, i] / SCB[o])        W ~ CB SCB / 127

Layout as in bitsandbytes: CB int8 (out, in), SCB float32 (out,). An entry is off by at most SCB / 254. Left out: the
paper's outlier columns and 8-bit activations; inputs keep their dtype, only the frozen weight is small.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from accorda.quantization.contract import Format, QuantizedLinear, dense_weight

LARGEST = 127


@dataclass(frozen=True)
class Int8Tensor:
    """A weight as rows of integers `CB` (out, in) with their largest magnitudes `SCB` (out,)."""

    CB: Tensor
    SCB: Tensor

    def dequantize(self) -> Tensor:
        """The dense weight, float32 (out, in)."""
        return _dequantize(self.CB, self.SCB, torch.float32)

    @property
    def num_bytes(self) -> int:
        """Bytes it holds."""
        return self.CB.nbytes + self.SCB.nbytes


def quantize_int8(weight: Tensor) -> Int8Tensor:
    """Round each row of a weight (out, in) to 255 steps of its largest magnitude; a row of zeros stays zero."""
    dense = weight.detach().float()
    absmax = dense.abs().amax(dim=1)
    steps = torch.where(absmax > 0, LARGEST / absmax, 0.0)
    return Int8Tensor((dense * steps[:, None]).round().to(torch.int8), absmax)


class Int8Linear(QuantizedLinear):
    """A frozen linear layer on an int8 weight; output in the input's dtype (autocast's under autocast)."""

    CB: nn.Parameter
    SCB: nn.Parameter

    def __init__(self, weight: Int8Tensor, bias: nn.Parameter | None = None, was_conv1d: bool = False):
        out_features, in_features = weight.CB.shape
        super().__init__(in_features, out_features, bias, was_conv1d)
        self.CB = nn.Parameter(weight.CB, requires_grad=False)
        self.SCB = nn.Parameter(weight.SCB, requires_grad=False)

    @classmethod
    def from_dense(cls, module: nn.Module) -> "Int8Linear":
        """The quantized form of a Linear or Conv1D; shares its bias."""
        weight, bias, was_conv1d = dense_weight(module)
        return cls(quantize_int8(weight), bias, was_conv1d)

    def dequantize(self) -> Tensor:
        """The dense weight, float32 (out, in)."""
        return _dequantize(self.CB, self.SCB, torch.float32)

    def forward(self, x: Tensor) -> Tensor:
        """Inputs (..., in) to outputs (..., out)."""
        device = x.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
        y = _Int8Matmul.apply(x.to(dtype), self.CB, self.SCB)
        assert isinstance(y, Tensor)
        return y if self.bias is None else y + self.bias.to(dtype)

    def _apply(self, fn: Any, recurse: bool = True) -> "Int8Linear":
        """Move to another device, but keep SCB in float32 where the model is cast."""
        exact = self.SCB.data
        super()._apply(fn, recurse)
        if self.SCB.dtype != torch.float32:
            self.SCB.data = exact.to(self.SCB.device)
        return self


class _Int8Matmul(torch.autograd.Function):
    """x @ W.T with the dense weight formed for the moment, again in backward, and never kept in the graph."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, CB: Tensor, SCB: Tensor) -> Tensor:
        ctx.save_for_backward(CB, SCB)
        return F.linear(x, _dequantize(CB, SCB, x.dtype))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,), (CB, SCB) = gradients, ctx.saved_tensors
        return gradient @ _dequantize(CB, SCB, gradient.dtype), None, None


def _dequantize(CB: Tensor, SCB: Tensor, dtype: torch.dtype) -> Tensor:
    return (CB.float() * (SCB / LARGEST)[:, None]).to(dtype)


def _num_bytes(out_features: int, in_features: int) -> int:
    """One byte per entry, four per row."""
    return out_features * in_features + 4 * out_features


FORMAT = Format("int8", quantize_int8, Int8Linear.from_dense, _num_bytes)
