"""What every number format offers. A format is one file of this folder that holds a `FORMAT`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D


class QuantizedTensor(Protocol):
    """A weight (out, in) in a number format."""

    def dequantize(self) -> Tensor:
        """The dense weight, float32 (out, in)."""
        ...

    @property
    def num_bytes(self) -> int:
        """Bytes it holds."""
        ...


class QuantizedLinear(nn.Module):
    """A frozen linear layer whose weight is held in a number format: y = x @ dequantize().T + bias.

    `weight` is None on purpose: model code that peeks at `weight.dtype` (T5) must not find packed numbers there.
    `was_conv1d`: it stands for a `Conv1D`, whose weight lies as (in, out); here it lies as (out, in) like any other.
    """

    weight: None
    bias: nn.Parameter | None

    def __init__(self, in_features: int, out_features: int, bias: nn.Parameter | None, was_conv1d: bool):
        super().__init__()
        self.in_features, self.out_features, self.was_conv1d = in_features, out_features, was_conv1d
        self.register_parameter("weight", None)
        self.register_parameter("bias", bias)

    def dequantize(self) -> Tensor:
        """The dense weight, float32 (out, in)."""
        raise NotImplementedError

    @torch.no_grad()
    def dense(self, dtype: torch.dtype = torch.float32) -> nn.Module:
        """The layer it stands for, of its own class and layout, with the dequantized weight."""
        weight = self.dequantize().to(dtype)
        module: Any
        if self.was_conv1d:
            module = Conv1D(self.out_features, self.in_features).to(weight.device, dtype)
            module.weight.copy_(weight.T)
            module.bias.copy_(self.bias)
            return module.requires_grad_(False)
        module = nn.Linear(self.in_features, self.out_features, self.bias is not None, weight.device, dtype)
        module.weight.copy_(weight)
        if self.bias is not None:
            module.bias.copy_(self.bias)
        return module.requires_grad_(False)

    def extra_repr(self) -> str:
        """The shape, as nn.Linear prints it."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


@dataclass(frozen=True)
class Format:
    """A number format: how a weight (out, in) and a linear layer enter it, and the bytes of a weight of given shape."""

    name: str
    quantize: Callable[[Tensor], QuantizedTensor]
    linear: Callable[[nn.Module], QuantizedLinear]
    num_bytes: Callable[[int, int], int]


def dense_weight(module: nn.Module) -> tuple[Tensor, nn.Parameter | None, bool]:
    """Weight as (out, in), bias and whether the layer is a Conv1D, whose weight lies the other way."""
    match module:
        case Conv1D():
            return module.weight.detach().T, module.bias, True
        case nn.Linear():
            return module.weight.detach(), module.bias, False
        case _:
            raise TypeError(f"{type(module).__name__} is not a dense linear layer")
