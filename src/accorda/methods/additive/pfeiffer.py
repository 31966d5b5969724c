"""Pfeiffer's adapters: AdapterFusion: Non-Destructive Task Composition for Transfer Learning.

Pfeiffer et al., 2020, arXiv:2005.00247, section 3.1; one adapter per block, after the feed-forward.

    post-LN    z' = z + W_up relu(W_down LN(z) + b_down) + b_up     z: what the norm receives, residual + feed-forward
    pre-LN     h' = h + W_up relu(W_down h + b_down) + b_up         h: what the feed-forward gives

W_down (M, D), W_up (D, M). In post-LN models the norm that closes the sub-layer is used twice: for the adapter's input,
and then on z'.

Starts near the base: weights normal with deviation 0.02, biases zero. Never merges: the nonlinearity has no place in a
linear layer.

Deviations: in pre-LN models, which the paper does not treat, acts before the feed-forward's dropout.
"""

from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from accorda.methods.contract import Adapter, Base, ModuleMethod, Traits
from accorda.methods.maths.bottleneck import Bottleneck, reduced
from accorda.methods.norms import is_norm
from accorda.methods.sublayers import closing_norm, linears
from accorda.models.roles import Site, sites
from accorda.recipe.types import PositiveInt

START = partial(nn.init.normal_, std=0.02)


@dataclass(frozen=True, kw_only=True)
class Pfeiffer(ModuleMethod):
    """Settings of Pfeiffer's adapters."""

    paper = "arXiv:2005.00247"
    traits = Traits(mergeable=False, identity_at_init="near")

    target_modules: str | tuple[str, ...] = "mlp.down"
    """what is adapted: ends of sub-layers (mlp.down, attention.output); or other roles, module names"""
    reduction_factor: PositiveInt = 16
    """the model's width divided by that of the bottleneck"""

    def sites(self, model: PreTrainedModel) -> list[Site]:
        """The chosen linears; in post-LN models the norm that closes the sub-layer, where a role names its end."""
        names = (self.target_modules,) if isinstance(self.target_modules, str) else self.target_modules
        every = sites(model)
        roles = {site.role for site in every} & set(names)
        return [
            (closing_norm(site, every) if site.role in roles else None) or site
            for site in linears(model, self.target_modules, "pfeiffer")
        ]

    def build(self, site: Site, shared: nn.Module | None) -> Adapter:
        """The bottleneck of one norm or linear."""
        return (BeforeNorm if is_norm(site) else AfterLinear)(site.out_features, self)


class AfterLinear(Adapter):
    """A bottleneck (D, M, D) on what a linear gives."""

    def __init__(self, width: int, method: Pfeiffer):
        super().__init__()
        widths = width, reduced(width, method.reduction_factor), width
        self.bottleneck = Bottleneck(widths, functional.relu, START, START)

    def output(self, x: Tensor, y: Tensor, base: Base) -> Tensor:
        """The base's y + bottleneck(y)."""
        return y + self.bottleneck(y)


class BeforeNorm(Adapter):
    """A bottleneck (D, M, D) on what a norm receives."""

    def __init__(self, width: int, method: Pfeiffer):
        super().__init__()
        widths = width, reduced(width, method.reduction_factor), width
        self.bottleneck = Bottleneck(widths, functional.relu, START, START)

    def input(self, x: Tensor, base: Base) -> Tensor:
        """The sum x + bottleneck(LN(x))."""
        return x + self.bottleneck(base(x))
