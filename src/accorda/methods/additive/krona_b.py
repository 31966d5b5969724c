"""KronA^B: Krona: Parameter Efficient Tuning with Kronecker Adapter. Edalati et al., 2022, arXiv:2212.10650.

    y = FFN(x) + s x [A ⊗ B]        A (a1, a2), B (b1, b2), a1 b1 = a2 b2 = D

beside the whole feed-forward: reads what it receives, adds to what it gives; no nonlinearity. The Kronecker product is
never formed.

Starts as the base exactly: A uniform on +-1/sqrt(a2), B zero. Never merges: the feed-forward has a nonlinearity of its
own between the two places.

Deviations: no code of the authors is public, so the start values and s = 16 are those of re-implementations. The share
of 0.07% of T5-base that the paper states is reached with the norms only: `layernorm: true`; a norm's gain then changes
by a factor beside it (`methods/norms.py`). Adds before the feed-forward's dropout.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from transformers import PreTrainedModel

from accorda.methods.contract import Adapter, Base, ModuleMethod, Traits
from accorda.methods.maths.kronecker_module import KroneckerBeside
from accorda.methods.norms import NormAdapter, is_norm, norm_sites
from accorda.methods.sublayers import beginning, linears
from accorda.models.roles import Site
from accorda.recipe.types import PositiveFloat, PositiveInt


@dataclass(frozen=True, kw_only=True)
class KronAB(ModuleMethod):
    """Settings of KronA^B."""

    paper = "arXiv:2212.10650"
    traits = Traits(mergeable=False, identity_at_init="exact")

    target_modules: str | tuple[str, ...] = "mlp.down"
    """beside what it stands: the sub-layer that ends here (mlp.down, attention.output); or other roles, module names"""
    block_shape: tuple[PositiveInt, PositiveInt] | None = None
    """rows and columns of B, the blocks of the product; null: near the square roots of the widths"""
    scaling: PositiveFloat = 16.0
    """the factor s on what is added"""
    layernorm: bool = False
    """train all norms too"""

    def sites(self, model: PreTrainedModel) -> list[Site]:
        """Where the adapters add, and all norms if they train."""
        return linears(model, self.target_modules, "krona_b") + (norm_sites(model) if self.layernorm else [])

    def entry(self, site: Site, sites: Sequence[Site]) -> Site | None:
        """Where they read: the beginning of the sub-layer."""
        return beginning(site, sites)

    def build(self, site: Site, shared: nn.Module | None) -> Adapter:
        """The two factors beside one sub-layer, or the change of one norm."""
        return NormAdapter(site) if is_norm(site) else KronABAdapter(site, self)


class KronABAdapter(Adapter):
    """A (a1, a2) and B (b1, b2)."""

    def __init__(self, site: Site, method: KronAB):
        super().__init__()
        self.beside = KroneckerBeside(site, method.block_shape)
        self.scaling = method.scaling

    def output(self, x: Tensor, y: Tensor, base: Base) -> Tensor:
        """The base's y + s * x [A ⊗ B]; x is what the sub-layer received."""
        return y + self.scaling * self.beside(x)
