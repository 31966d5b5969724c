"""The frozen module under an adapter, as the adapter sees it."""

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from accorda.quantization.contract import QuantizedLinear


class Base:
    """The frozen module under an adapter, or the part of it that the adapter's site names.

    Fused projections, `Conv1D` and number formats end here: an adapter sees a dense (O, I) weight of its own rows.
    """

    def __init__(self, module: nn.Module, rows: Tensor | None = None):
        self.module = module
        self.rows = rows

    def __call__(self, x: Tensor) -> Tensor:
        """The module's own computation without adapters: (..., I) -> (..., O), in x's dtype."""
        stored = getattr(self.module, "weight", None)
        inner = x if stored is None or torch.is_autocast_enabled(x.device.type) else x.to(stored.dtype)
        return self._cut(self.module.forward(inner).to(x.dtype), dim=-1)

    @property
    def weight(self) -> Tensor:
        """Dense (O, I), or (D,) of a norm."""
        return self._cut(dense_weight(self.module), dim=0)

    @property
    def bias(self) -> Tensor | None:
        """(O,), or None."""
        bias = getattr(self.module, "bias", None)
        return None if bias is None else self._cut(bias, dim=0)

    @property
    def quantized(self) -> bool:
        """Whether the weight is held in a number format."""
        return isinstance(self.module, QuantizedLinear)

    def rows_on(self, device: torch.device) -> Tensor | None:
        """The rows, moved once: a copy per call would wait for the device."""
        if self.rows is None or self.rows.device == device:
            return self.rows
        moved = self.rows.to(device)
        if device.type != "meta":  # where numbers are lost
            self.rows = moved
        return moved

    def _cut(self, tensor: Tensor, dim: int) -> Tensor:
        rows = self.rows_on(tensor.device)
        return tensor if rows is None else tensor.index_select(dim, rows)


def dense_weight(module: nn.Module) -> Tensor:
    """The module's weight as (out, in), whatever its layout and number format."""
    match module:
        case QuantizedLinear():
            return module.dequantize()
        case Conv1D():
            return module.weight.T
        case _:
            return module.get_parameter("weight")
