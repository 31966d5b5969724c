"""Compacter: Efficient Low-Rank Hypercomplex Adapter Layers. Mahabadi, Henderson, Ruder, 2021, arXiv:2106.04647.

    h' = h + L_up(gelu(L_down(h)))        L(x) = x sum_i A_i ⊗ (s_i t_i) + b        equations 4 to 6

A (n, n, n) is one rule for all layers of the model; s_i (I/n, k), t_i (k, O/n) are each layer's own; ⊗ is Kronecker's
product, never formed. After attention and after the feed-forward, before the residual addition; not after cross
attention. The norms train as well.

Starts near the base: A normal with deviation 0.0001, s and t by Glorot with gain sqrt(2), biases zero. Never merges:
the nonlinearity has no place in a linear layer.

Deviations: a bottleneck whose size n does not divide is widened to the next multiple. A norm's gain changes by a factor
beside it (`methods/norms.py`), so that rows of one batch may have different adapters.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedModel

from accorda.methods.contract import Adapter, ModuleMethod, Traits
from accorda.methods.maths.hypercomplex import HypercomplexAdapter, Rule
from accorda.methods.norms import NormAdapter, is_norm, norm_sites
from accorda.methods.sublayers import linears
from accorda.models.roles import Site
from accorda.recipe.types import PositiveFloat, PositiveInt


@dataclass(frozen=True, kw_only=True)
class Compacter(ModuleMethod):
    """Settings of Compacter."""

    paper = "arXiv:2106.04647"
    traits = Traits(mergeable=False, identity_at_init="near")

    target_modules: str | tuple[str, ...] = ("attention.output", "mlp.down")
    """what is adapted: ends of sub-layers; or other roles, module names"""
    n: PositiveInt = 4
    """size of the rule, which is n x n x n; it must divide the model's width"""
    rank: PositiveInt = 1
    """rank k of the thin factors"""
    reduction_factor: PositiveInt = 32
    """the model's width divided by that of the bottleneck"""
    init_std: PositiveFloat = 1e-4
    """deviation of the rule's start values"""
    layernorm: bool = True
    """train all norms too, as the paper does"""

    def sites(self, model: PreTrainedModel) -> list[Site]:
        """The chosen linears, and all norms if they train."""
        return linears(model, self.target_modules, "compacter") + (norm_sites(model) if self.layernorm else [])

    def shared(self, sites: Sequence[Site]) -> nn.Module:
        """The rule."""
        return Rule(self.n, self.init_std)

    def build(self, site: Site, shared: nn.Module | None) -> Adapter:
        """The adapter after one linear, or the change of one norm."""
        if is_norm(site):
            return NormAdapter(site)
        assert isinstance(shared, Rule)
        return HypercomplexAdapter(site, shared, self.rank, self.reduction_factor)
