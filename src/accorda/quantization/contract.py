"""What every number format offers."""

from torch import Tensor, nn


class QuantizedLinear(nn.Module):
    """A frozen linear layer whose weight is held in a number format; y = x @ dequantize().T + bias.

    `weight` is None on purpose: model code that peeks at `weight.dtype` (T5) must not find packed numbers there.
    """

    in_features: int
    out_features: int
    weight: None
    bias: nn.Parameter | None

    def dequantize(self) -> Tensor:
        """The dense weight, (out, in)."""
        raise NotImplementedError
