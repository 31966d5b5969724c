"""PiSSA: Principal Singular Values and Singular Vectors Adaptation. Meng, Wang, Zhang, 2024, arXiv:2404.02948.

    W = U S V^T        A0 = sqrt(S_r / s) V_r^T (R, I)        B0 = U_r sqrt(S_r / s) (O, R)        s = alpha / rank
    y = (W - s B0 A0) x + b + s B A x = W x + b + s (B A - B0 A0) x        A and B start as A0 and B0, and train

The principal part of the weight trains, the residual W - s B0 A0 stays. Starts as the base exactly. Merges:
W + s (B A - B0 A0).

Deviations: the paper writes the residual into the base. Here the base stays as it is and the adapter subtracts the
frozen A0 and B0, which is the same function with the same gradients. It costs a second thin product; in return the base
is there bit for bit when the adapter is off or removed, rows of one batch may differ, and no copy of the weights is
kept. On a quantised base the residual is therefore that of the quantised weight: QPiSSA, which quantises the residual
to lose less, is not this. The decomposition is the paper's fast one, in a space of twice the rank; `iterations: null`
is the exact one. `all-linear` is the default.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from accorda.errors import Refusal
from accorda.methods.contract import Adapter, Base, ModuleMethod, Traits
from accorda.methods.maths import low_rank
from accorda.models.roles import Site, is_linear
from accorda.recipe.types import PositiveFloat, PositiveInt


@dataclass(frozen=True, kw_only=True)
class PiSSA(ModuleMethod):
    """Settings of PiSSA; alpha / rank divides the singular values and multiplies the product, so it cancels."""

    paper = "arXiv:2404.02948"
    traits = Traits(mergeable=True, identity_at_init="exact")

    rank: PositiveInt = 16
    """how many principal directions of a layer train"""
    alpha: PositiveFloat = 16.0
    """alpha / rank scales the product; the paper takes alpha = rank"""
    iterations: PositiveInt | None = 16
    """subspace iterations of the fast decomposition: more are more exact; null: the exact one, slow on large layers"""

    def build(self, site: Site, shared: nn.Module | None) -> Adapter:
        """The principal part of one linear layer or of one part of it."""
        if not is_linear(site.module):
            raise Refusal(f"method.target_modules: pissa acts on linear layers, and {site.name} ({site.role}) is none")
        if self.rank > (most := min(site.in_features, site.out_features)):
            raise Refusal(
                f"method.rank = {self.rank}: {site.name} ({site.role}) has {most} singular values; use at most that"
            )
        return PiSSAAdapter(site, self)


class PiSSAAdapter(Adapter):
    """A (R, I) and B (O, R), trained; start_A and start_B, what they started as."""

    start_A: Tensor
    start_B: Tensor

    def __init__(self, site: Site, method: PiSSA):
        super().__init__()
        self.scaling = method.alpha / method.rank
        A, B = principal(Base(site.module, site.rows).weight, method.rank, self.scaling, method.iterations)
        self.lora_A, self.lora_B = nn.Parameter(A), nn.Parameter(B)
        self.register_buffer("start_A", A.clone())
        self.register_buffer("start_B", B.clone())

    def output(self, x: Tensor, y: Tensor, base: Base) -> Tensor:
        """The base's y + scaling * (B A - B0 A0) x."""
        now, start = low_rank.apply(x, self.lora_A, self.lora_B), low_rank.apply(x, self.start_A, self.start_B)
        return y + self.scaling * (now - start)

    def merged(self, base: Base) -> tuple[Tensor, Tensor | None]:
        """W + scaling * (B A - B0 A0)."""
        change = self.lora_B @ self.lora_A - self.start_B @ self.start_A
        return base.weight.float() + self.scaling * change, base.bias


@torch.no_grad()
def principal(weight: Tensor, rank: int, scaling: float, iterations: int | None) -> tuple[Tensor, Tensor]:
    """A0 (R, I) and B0 (O, R) of a weight (O, I); on the meta device shapes only."""
    if weight.is_meta or torch.get_default_device().type == "meta":
        return weight.new_empty(rank, weight.shape[1]).float(), weight.new_empty(weight.shape[0], rank).float()
    if iterations is None:
        U, S, Vh = torch.linalg.svd(weight.float(), full_matrices=False)
        U, S, V = U[:, :rank], S[:rank], Vh[:rank].T
    else:
        U, S, V = torch.svd_lowrank(weight.float(), q=min(2 * rank, *weight.shape), niter=iterations)
        U, S, V = U[:, :rank], S[:rank], V[:, :rank]
    root = (S / scaling).sqrt()
    return (root[:, None] * V.T).contiguous(), (U * root).contiguous()
