"""A linear layer whose matrix is one Kronecker product of two trained factors."""

import math

import torch
from torch import Tensor, nn

from accorda.errors import Refusal
from accorda.methods.maths import kronecker
from accorda.methods.sublayers import num_features
from accorda.models.roles import Site
from accorda.recipe.types import Auto


class KroneckerBeside(nn.Module):
    """x [A ⊗ B] beside a site's sub-layer: A (a1, a2), B (b1, b2), I = a1 b1, O = a2 b2; (..., I) -> (..., O).

    A is random, B zero. With b2 = a1 where I = O both have I entries, the fewest for factors of any shape.
    """

    def __init__(self, site: Site, a1: int | Auto):
        super().__init__()
        num_in, num_out = num_features(site), site.out_features
        a1, b2 = (kronecker.middle_divisor(num_in), kronecker.middle_divisor(num_out)) if a1 == "auto" else (a1, a1)
        for part, width in ((a1, num_in), (b2, num_out)):
            if width % part:
                raise Refusal(f"method.a1 = {part} does not divide the {width} features of {site.name} ({site.role})")
        self.A = nn.Parameter(torch.empty(a1, num_out // b2))
        self.B = nn.Parameter(torch.zeros(num_in // a1, b2))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        """The rows x times A ⊗ B."""
        return kronecker.apply(x, self.A.T, self.B.T)
