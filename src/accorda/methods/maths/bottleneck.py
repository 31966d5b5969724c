"""Two linear layers with a nonlinearity between them: W_up f(W_down x + b_down) + b_up."""

from collections.abc import Callable

from torch import Tensor, nn

Start = Callable[[Tensor], object]  # fills a weight in place


class Bottleneck(nn.Module):
    """down (M, I) and up (O, M), both with biases, which start at zero; (..., I) -> (..., O)."""

    def __init__(self, widths: tuple[int, int, int], activation: Callable[[Tensor], Tensor], down: Start, up: Start):
        """Widths I, M, O; `down` and `up` give the weights their start values."""
        super().__init__()
        num_in, size, num_out = widths
        self.down, self.up = nn.Linear(num_in, size), nn.Linear(size, num_out)
        self.activation = activation
        for linear, start in ((self.down, down), (self.up, up)):
            start(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(..., I) -> (..., O)."""
        return self.up(self.activation(self.down(x)))


def reduced(width: int, factor: int) -> int:
    """Bottleneck size: the width divided by the factor, at least 1."""
    return max(1, width // factor)
