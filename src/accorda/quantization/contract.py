"""What every number format offers. A format is one file of this folder that holds a `FORMAT`."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D


class QuantizedTensor(Protocol):
    """A weight W (out, in) in a number format."""

    def dequantize(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """The dense weight (out, in): formed in float32, rounded to dtype last."""
        ...

    def matmul(self, x: Tensor) -> Tensor:
        """Inputs (..., in) to x @ W.T (..., out), in x's dtype."""
        ...

    def matmul_back(self, gradient: Tensor) -> Tensor:
        """Gradients (..., out) to gradient @ W (..., in), in their dtype."""
        ...

    @property
    def num_bytes(self) -> int:
        """Bytes it holds."""
        ...


class QuantizedLinear(nn.Module):
    """A frozen linear layer whose weight is held in a number format: y = x @ dequantize().T + bias.

    `weight` is None on purpose: model code that peeks at `weight.dtype` (T5) must not find packed numbers there.
    `was_conv1d`: it stands for a `Conv1D`, whose weight lies as (in, out); here it lies as (out, in) like any other.
    `held`: the names of the parameters that the weight lies in, in the order `assembled` takes them.
    """

    held: ClassVar[tuple[str, ...]]
    weight: None
    bias: nn.Parameter | None

    def __init__(self, in_features: int, out_features: int, bias: nn.Parameter | None, was_conv1d: bool):
        super().__init__()
        self.in_features, self.out_features, self.was_conv1d = in_features, out_features, was_conv1d
        self.register_parameter("weight", None)
        self.register_parameter("bias", bias)

    def hold(self, *tensors: Tensor | None) -> None:
        """Keep the parts of the weight as parameters that never train, by the names in `held`."""
        for name, tensor in zip(self.held, tensors, strict=True):
            frozen = None if tensor is None else nn.Parameter(tensor, requires_grad=False)
            self.register_parameter(name, frozen)

    def assembled(self, *parts: Tensor | None) -> QuantizedTensor:
        """The weight from its parts."""
        raise NotImplementedError

    def stored(self, dtype: torch.dtype) -> dict[str, Tensor]:
        """The weight as bitsandbytes names its parts in a checkpoint; dtype: what its own dense form would have."""
        raise NotImplementedError

    @property
    def settings(self) -> dict[str, Any]:
        """What a checkpoint's config.json says of such weights."""
        raise NotImplementedError

    @property
    def quantized_weight(self) -> QuantizedTensor:
        """The weight."""
        return self.assembled(*(self._parameters[name] for name in self.held))

    def dequantize(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """The dense weight (out, in)."""
        return self.quantized_weight.dequantize(dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Inputs (..., in) to outputs (..., out), in the input's dtype, or autocast's under autocast."""
        device = x.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
        y = _Matmul.apply(x.to(dtype), self.assembled, *(self._parameters[name] for name in self.held))
        assert isinstance(y, Tensor)
        return y if self.bias is None else y + self.bias.to(dtype)

    def _apply(self, fn: Any, recurse: bool = True) -> "QuantizedLinear":
        """Move to another device, but keep the parts of the weight in their dtypes where the model is cast."""
        exact = {name: part.data for name in self.held if (part := self._parameters[name]) is not None}
        super()._apply(fn, recurse)
        for name, before in exact.items():
            part = self._parameters[name]
            if part is not None and part.dtype != before.dtype:
                part.data = before.to(part.device)
        return self

    @torch.no_grad()
    def dense(self, dtype: torch.dtype = torch.float32) -> nn.Module:
        """The layer it stands for, of its own class and layout, with the dequantized weight."""
        weight = self.dequantize(dtype)
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


class _Matmul(torch.autograd.Function):
    """x @ W.T; backward forms W again, and the graph keeps nothing but the parts that W lies in."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, assembled: Callable[..., QuantizedTensor], *parts: Tensor | None) -> Tensor:
        ctx.save_for_backward(*parts)
        ctx.assembled = assembled
        return assembled(*parts).matmul(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        parts = ctx.saved_tensors  # asked for once: under checkpointing each is there once
        back = ctx.assembled(*parts).matmul_back(gradients[0]) if ctx.needs_input_grad[0] else None
        return back, None, *(None for _ in parts)


@dataclass(frozen=True)
class Format:
    """A number format.

    quantize: a weight (out, in) enters it. layer: of such a weight, a bias, and whether a Conv1D's place is taken.
    num_bytes: of a weight with so many outputs and inputs. read: a weight from what `stored` gave, by name.
    declared: whether a checkpoint's quantization_config says that weights lie in this format.
    parts: of a module's path and the names in a checkpoint, the names that hold its weight by those that `read` takes;
        empty where it is not in this format.
    undoubled: the same without double quantization, where it has that.
    """

    name: str
    quantize: Callable[[Tensor], QuantizedTensor]
    layer: Callable[[Any, nn.Parameter | None, bool], QuantizedLinear]
    num_bytes: Callable[[int, int], int]
    read: Callable[[Mapping[str, Tensor]], QuantizedTensor]
    declared: Callable[[Mapping[str, Any]], bool]
    parts: Callable[[str, Collection[str]], dict[str, str]]
    undoubled: "Format | None" = None

    def linear(self, module: nn.Module) -> QuantizedLinear:
        """The quantized form of a Linear or Conv1D; shares its bias."""
        weight, bias, was_conv1d = dense_weight(module)
        return self.layer(self.quantize(weight), bias, was_conv1d)


def dense_weight(module: nn.Module) -> tuple[Tensor, nn.Parameter | None, bool]:
    """Weight as (out, in), bias and whether the layer is a Conv1D, whose weight lies the other way."""
    match module:
        case Conv1D():
            return module.weight.detach().T, module.bias, True
        case nn.Linear():
            return module.weight.detach(), module.bias, False
        case _:
            raise TypeError(f"{type(module).__name__} is not a dense linear layer")
