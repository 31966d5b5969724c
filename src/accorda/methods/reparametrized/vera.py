"""VeRA: Vector-based Random Matrix Adaptation. Kopiczko, Blankevoort, Asano, 2023, arXiv:2310.11454.

    y = W x + b + lambda_b * B (lambda_d * (A dropout(x)))
    W (O, I), A (R, I) and B (O, R) frozen, lambda_d (R,) and lambda_b (O,) trained

A and B are drawn once from `seed`, with the largest I and O of all chosen layers; each layer uses the first rows and
columns that it needs. They are held once, by the model's root, and no file holds them: the seed is all that is saved.

Starts as the base exactly: lambda_d is `d_initial`, lambda_b zero. Merges: W + diag(lambda_b) B diag(lambda_d) A.

Deviations: A and B are uniform with Kaiming's bound sqrt(6 / fan in), as in PEFT, whose numbers they equal bit for bit;
the paper's rate for new heads, which differs from that of the vectors, is left out. `all-linear` is the default.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from accorda.errors import Refusal
from accorda.methods.contract import Adapter, Base, ModuleMethod, Traits
from accorda.models.roles import Site, is_linear
from accorda.recipe.types import NonNegativeInt, PositiveInt, Share


@dataclass(frozen=True, kw_only=True)
class VeRA(ModuleMethod):
    """Settings of VeRA."""

    paper = "arXiv:2310.11454"
    traits = Traits(mergeable=True, identity_at_init="exact")

    rank: PositiveInt = 256
    """rows of A: large, because only one number of each is trained"""
    d_initial: float = 0.1
    """what every entry of lambda_d starts at; small values learn better"""
    dropout: Share = 0.0
    """share of the inputs of A that are dropped while training"""
    seed: NonNegativeInt = 0
    """what A and B are drawn from; the files hold it in their place"""

    def shared(self, sites: Sequence[Site]) -> nn.Module | None:
        """A and B, as large as the largest of the sites."""
        for site in sites:
            if not is_linear(site.module):
                raise Refusal(
                    f"method.target_modules: vera acts on linear layers, and {site.name} ({site.role}) is none"
                )
        return Projections(self, max(s.in_features for s in sites), max(s.out_features for s in sites))

    def build(self, site: Site, shared: nn.Module | None) -> Adapter:
        """The two vectors of one linear layer or one part of it."""
        assert isinstance(shared, Projections)
        return VeRAAdapter(site, self, shared)


class Projections(nn.Module):
    """A (R, I) and B (O, R) for the largest I and O. Buffers that no state dict holds: the seed tells them."""

    A: Tensor
    B: Tensor

    def __init__(self, method: VeRA, in_features: int, out_features: int):
        super().__init__()
        generator = torch.Generator("cpu").manual_seed(method.seed)
        self.register_buffer("A", drawn(method.rank, in_features, generator), persistent=False)
        self.register_buffer("B", drawn(out_features, method.rank, generator), persistent=False)

    def state(self) -> dict[str, Tensor]:
        """Both, by name."""
        return {"A": self.A, "B": self.B}


class VeRAAdapter(Adapter):
    """lambda_d (R,) and lambda_b (O,)."""

    projections: Projections

    def __init__(self, site: Site, method: VeRA, projections: Projections):
        super().__init__()
        self.lambda_d = nn.Parameter(torch.full((method.rank,), method.d_initial))
        self.lambda_b = nn.Parameter(torch.zeros(site.out_features))
        self.dropout = nn.Dropout(method.dropout)
        self.in_features, self.out_features = site.in_features, site.out_features
        object.__setattr__(self, "projections", projections)  # the root owns it, so it is no child of every site

    def matrices(self) -> tuple[Tensor, Tensor]:
        """This site's part of A (R, I) and B (O, R)."""
        return self.projections.A[:, : self.in_features], self.projections.B[: self.out_features]

    def output(self, x: Tensor, y: Tensor, base: Base) -> Tensor:
        """The base's y + lambda_b * B (lambda_d * (A dropout(x)))."""
        A, B = self.matrices()
        return y + self.lambda_b * functional.linear(self.lambda_d * functional.linear(self.dropout(x), A), B)

    def merged(self, base: Base) -> tuple[Tensor, Tensor | None]:
        """W + diag(lambda_b) B diag(lambda_d) A."""
        A, B = self.matrices()
        return base.weight.float() + (self.lambda_b[:, None] * B) @ (self.lambda_d[:, None] * A), base.bias


def drawn(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """A random matrix on the CPU, uniform with Kaiming's bound for ReLU."""
    bound = math.sqrt(3.0) * (math.sqrt(2.0) / math.sqrt(columns))
    return torch.empty(rows, columns, device="cpu").uniform_(-bound, bound, generator=generator)
