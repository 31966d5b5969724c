"""A linear layer whose matrix is one Kronecker product of two trained factors."""

import math

import torch
from torch import Tensor, nn

from accorda.errors import Refusal
from accorda.methods.maths import kronecker
from accorda.methods.sublayers import num_features
from accorda.models.roles import Site


class KroneckerBeside(nn.Module):
    """x [A ⊗ B] beside a site's sub-layer: A (a1, a2), B (b1, b2), I = a1 b1, O = a2 b2; (..., I) -> (..., O).

    A is random, B zero. By default a1 and b2 are the divisors of I and O nearest to their square roots, so that where
    I = O both factors have I entries, the fewest for factors of any shape.
    """

    def __init__(self, site: Site, block_shape: tuple[int, int] | None):
        super().__init__()
        num_in, num_out = num_features(site), site.out_features
        by_default = num_in // kronecker.middle_divisor(num_in), kronecker.middle_divisor(num_out)
        b1, b2 = by_default if block_shape is None else block_shape
        if num_in % b1 or num_out % b2:
            raise Refusal(
                f"method.block_shape = {b1}x{b2} does not divide what stands beside {site.name} ({site.role}), which "
                f"is {num_in}x{num_out}; choose divisors of both, or null"
            )
        self.A = nn.Parameter(torch.empty(num_in // b1, num_out // b2))
        self.B = nn.Parameter(torch.zeros(b1, b2))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        """The rows x times A ⊗ B."""
        return kronecker.apply(x, self.A.T, self.B.T)
