"""DoRA: Weight-Decomposed Low-Rank Adaptation. Liu et al., 2024, arXiv:2402.09353, equations 5 and 11.

    y = b + magnitude * (W + s B A) x / n        n = |W + s B A| per output row (O,), a constant in the backward pass
    s = alpha / rank        W (O, I) frozen, A (R, I), B (O, R), magnitude (O,)

Neither W + s B A nor its gradient is kept: with u = W x, from the base's own output, and g = magnitude / n,

    y = b + u + (g - 1) u + g s B A dropout(x)
    n^2 = |W|^2 + 2 s (W A^T . B) + s^2 (B A A^T . B)        . multiplies and sums over the rank

Starts as the base exactly: A random, B zero, magnitude the norms of W's rows, so g is one. Merges: g (W + s B A).

Deviations: the paper's formulas are for columns of a transposed W; a row here is one output. Dropout acts on the
low-rank path alone, as the paper has it (PEFT drops the input of (g - 1) u too). Behind another method on the same
module n is still the norm of the frozen weight and this method's own change. `all-linear` is the default.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from accorda.errors import Refusal
from accorda.methods.contract import Adapter, Base, ModuleMethod, Traits
from accorda.methods.maths import low_rank
from accorda.models.roles import Site, is_linear
from accorda.recipe.types import PositiveFloat, PositiveInt, Share


@dataclass(frozen=True, kw_only=True)
class DoRA(ModuleMethod):
    """Settings of DoRA; `alpha / rank` scales the change of direction."""

    paper = "arXiv:2402.09353"
    traits = Traits(mergeable=True, identity_at_init="exact")
    rate_of = "lora"

    rank: PositiveInt = 16
    """how many directions a layer may change in: more learn more and cost more"""
    alpha: PositiveFloat = 32.0
    """alpha / rank scales the change of direction"""
    dropout: Share = 0.0
    """share of the inputs of A that are dropped while training"""
    init: low_rank.Start = "kaiming"
    """how A starts: kaiming or gaussian"""

    def build(self, site: Site, shared: nn.Module | None) -> Adapter:
        """A, B and the magnitude for one linear layer or one part of it."""
        if not is_linear(site.module):
            raise Refusal(f"method.target_modules: dora acts on linear layers, and {site.name} ({site.role}) is none")
        return DoRAAdapter(site, self)


class DoRAAdapter(Adapter):
    """A (R, I), B (O, R), magnitude (O,)."""

    def __init__(self, site: Site, method: DoRA):
        super().__init__()
        self.lora_A = low_rank.start_A(method.rank, site.in_features, method.init)
        self.lora_B = low_rank.zero_B(site.out_features, method.rank)
        self.dropout = nn.Dropout(method.dropout)
        self.scaling = method.alpha / method.rank
        self.magnitude = nn.Parameter(start_magnitude(Base(site.module, site.rows).weight))

    def output(self, x: Tensor, y: Tensor, base: Base) -> Tensor:
        """The base's y + (g - 1) (y - b) + g * scaling * B A dropout(x)."""
        ratio = self.magnitude / row_norms(base.weight, self.lora_A, self.lora_B, self.scaling)
        change = self.scaling * low_rank.apply(self.dropout(x), self.lora_A, self.lora_B)
        u = y if base.bias is None else y - base.bias.to(y.dtype)
        return y + (ratio - 1) * u + ratio * change

    def merged(self, base: Base) -> tuple[Tensor, Tensor | None]:
        """(magnitude / n) (W + scaling * B A)."""
        ratio = self.magnitude / row_norms(base.weight, self.lora_A, self.lora_B, self.scaling)
        return ratio[:, None] * (base.weight.float() + self.scaling * (self.lora_B @ self.lora_A)), base.bias


@torch.no_grad()
def start_magnitude(weight: Tensor) -> Tensor:
    """|W| per row, (O,), in fp32: bit for bit what `row_norms` gives while B is zero."""
    return weight.float().square().sum(1).sqrt()


@torch.no_grad()
def row_norms(weight: Tensor, A: Tensor, B: Tensor, scaling: float) -> Tensor:
    """|W + scaling * B A| per row, (O,), in fp32, without forming the sum."""
    with torch.autocast(weight.device.type, enabled=False):
        W, A, B = weight.float(), A.float(), B.float()
        crossed = ((W @ A.T) * B).sum(1)
        own = ((B @ (A @ A.T)) * B).sum(1)
        return (W.square().sum(1) + 2 * scaling * crossed + scaling**2 * own).clamp(min=0).sqrt()
