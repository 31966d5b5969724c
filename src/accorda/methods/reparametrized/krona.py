"""KronA: Parameter-Efficient Tuning with Kronecker Adapter. Edalati et al., 2022, arXiv:2212.10650.

    y = W x + b + s * (A ⊗ B) x        W (O, I) frozen, A (a1, a2), B (b1, b2), a1 b1 = O, a2 b2 = I

The product is taken factor by factor: with x as X (a2, b2), (A ⊗ B) x is A X B^T read row by row. Its rank is that of A
times that of B, so the change can have full rank.

Starts as the base exactly: A random (uniform on +-1/sqrt(a2)), B zero. Merges: W + s * (A ⊗ B), formed once.

Shapes: a1 is the divisor of O nearest to sqrt(O), b2 the divisor of I nearest to sqrt(I); so both factors have about
sqrt(O I) entries, which is the least. For 768 x 768 they are 24 x 32 and 32 x 24, the paper's 1,536 entries.

Files: PEFT's LoKr takes the shape of A from one `decompose_factor` for all layers, which cuts a size alike as O and as
I. Where one gives all shapes (as for query and value of width 4096, whose root is whole, or by a `block_shape` of that
kind) the adapter is saved as LoKr, and plain peft reads it. Otherwise, as by default on `all-linear` of most models, it
is saved with a header of our own, which plain peft cannot read.

Deviations: no official code is known, so which factor starts at zero is our choice, as is s = 1 (the paper tunes it).
The paper adapts query and value of every attention; `all-linear` is the default here. Its count for T5-base includes
the norms, which `install(model, (KronA(), LayerNorm()))` trains and KronA alone does not.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from accorda.errors import Refusal
from accorda.methods.contract import Adapter, Base, ModuleMethod, Traits
from accorda.methods.maths import kronecker
from accorda.models.roles import Site, is_linear
from accorda.recipe.types import PositiveFloat, PositiveInt


@dataclass(frozen=True, kw_only=True)
class KronA(ModuleMethod):
    """Settings of KronA."""

    paper = "arXiv:2212.10650"
    traits = Traits(mergeable=True, identity_at_init="exact")

    block_shape: tuple[PositiveInt, PositiveInt] | None = None
    """rows and columns of B, the blocks that the change is made of; null: near the square roots of the layer's own"""
    scaling: PositiveFloat = 1.0
    """the factor s on the change"""

    def build(self, site: Site, shared: nn.Module | None) -> Adapter:
        """A and B for one linear layer or one part of it."""
        if not is_linear(site.module):
            raise Refusal(f"method.target_modules: krona acts on linear layers, and {site.name} ({site.role}) is none")
        return KronAAdapter(site, self)


class KronAAdapter(Adapter):
    """A (a1, a2) and B (b1, b2)."""

    def __init__(self, site: Site, method: KronA):
        super().__init__()
        b1, b2 = block_shape(site, method)
        A = torch.empty(site.out_features // b1, site.in_features // b2)
        self.A = nn.Parameter(nn.init.kaiming_uniform_(A, a=math.sqrt(5)))
        self.B = nn.Parameter(torch.zeros(b1, b2))
        self.scaling = method.scaling

    def output(self, x: Tensor, y: Tensor, base: Base) -> Tensor:
        """The base's y + s * (A ⊗ B) x."""
        return y + self.scaling * kronecker.apply(x, self.A, self.B)

    def merged(self, base: Base) -> tuple[Tensor, Tensor | None]:
        """W + s * (A ⊗ B)."""
        return base.weight.float() + self.scaling * torch.kron(self.A, self.B), base.bias


def block_shape(site: Site, method: KronA) -> tuple[int, int]:
    """The shape of B at one site."""
    out, into = site.out_features, site.in_features
    if method.block_shape is None:
        return out // kronecker.middle_divisor(out), kronecker.middle_divisor(into)
    b1, b2 = method.block_shape
    if out % b1 or into % b2:
        raise Refusal(
            f"method.block_shape = {b1}x{b2} does not divide {site.name} ({site.role}), which is {out}x{into}; "
            "choose divisors of both, or null"
        )
    return b1, b2
