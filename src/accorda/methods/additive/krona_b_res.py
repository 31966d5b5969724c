"""KronA^B_res: Krona: Parameter Efficient Tuning with Kronecker Adapter. Edalati et al., 2022, arXiv:2212.10650.

    y = FFN(x) + s x [A ⊗ B] + s_res x        A (a1, a2), B (b1, b2), a1 b1 = a2 b2 = D; s_res a trained number

beside the whole feed-forward, with a learned share of its input. The Kronecker product is never formed.

Starts as the base exactly: A uniform on +-1/sqrt(a2), B and s_res zero; with another `s_res_init` away from it. Never
merges: the feed-forward has a nonlinearity of its own between the two places.

Deviations: no code of the authors is public, so the start values and s = 16 are those of re-implementations. One of
these starts s_res at 1, which adds the input once more from the first step on; here it starts at 0. The share of 0.07%
of T5-base that the paper states is reached with the norms only: `layernorm: true`; a norm's gain then changes by a
factor beside it (`methods/norms.py`). Adds before the feed-forward's dropout.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from accorda.errors import Refusal
from accorda.methods.contract import Adapter, Base, ModuleMethod, Traits
from accorda.methods.maths.kronecker_module import KroneckerBeside
from accorda.methods.norms import NormAdapter, is_norm, norm_sites
from accorda.methods.sublayers import beginning, linears, num_features
from accorda.models.roles import Site
from accorda.recipe.types import PositiveFloat, PositiveInt


@dataclass(frozen=True, kw_only=True)
class KronABRes(ModuleMethod):
    """Settings of KronA^B_res."""

    paper = "arXiv:2212.10650"
    traits = Traits(mergeable=False, identity_at_init="exact")

    target_modules: str | tuple[str, ...] = "mlp.down"
    """beside what it stands: the sub-layer that ends here (mlp.down, attention.output); or other roles, module names"""
    block_shape: tuple[PositiveInt, PositiveInt] | None = None
    """rows and columns of B, the blocks of the product; null: near the square roots of the widths"""
    scaling: PositiveFloat = 16.0
    """the factor s on what the product adds"""
    s_res_init: float = 0.0
    """where the trained share of the input starts; 0: as the base, 1: the input is added once more"""
    layernorm: bool = False
    """train all norms too"""

    def sites(self, model: PreTrainedModel) -> list[Site]:
        """Where the adapters add, and all norms if they train."""
        return linears(model, self.target_modules, "krona_b_res") + (norm_sites(model) if self.layernorm else [])

    def entry(self, site: Site, sites: Sequence[Site]) -> Site | None:
        """Where they read: the beginning of the sub-layer."""
        return beginning(site, sites)

    def build(self, site: Site, shared: nn.Module | None) -> Adapter:
        """The two factors and s_res beside one sub-layer, or the change of one norm."""
        if is_norm(site):
            return NormAdapter(site)
        if num_features(site) != site.out_features:
            widths = f"receives {num_features(site)} features and gives {site.out_features}"
            raise Refusal(
                f"method.target_modules: krona_b_res adds the input itself, and {site.name} ({site.role}) {widths}"
            )
        return KronABResAdapter(site, self)


class KronABResAdapter(Adapter):
    """A (a1, a2), B (b1, b2) and s_res."""

    def __init__(self, site: Site, method: KronABRes):
        super().__init__()
        self.beside = KroneckerBeside(site, method.block_shape)
        self.scaling = method.scaling
        self.s_res = nn.Parameter(torch.tensor(method.s_res_init))

    def output(self, x: Tensor, y: Tensor, base: Base) -> Tensor:
        """The base's y + s * x [A ⊗ B] + s_res * x; x is what the sub-layer received."""
        return y + (self.scaling * self.beside(x) + self.s_res * x)
