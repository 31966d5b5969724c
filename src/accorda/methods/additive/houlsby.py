"""Adapters: Parameter-Efficient Transfer Learning for NLP. Houlsby et al., 2019, arXiv:1902.00751, section 2.1.

    h' = h + W_up gelu(W_down h + b_down) + b_up        h (D,), W_down (M, D), W_up (D, M)

after every sub-layer of every block (attention, cross attention, feed-forward), before its residual addition. The norms
train as well.

Starts near the base: weights from a normal of deviation 0.001 cut off at two deviations, biases zero; exactly as it
with `init: zero_up`. Never merges: the nonlinearity has no place in a linear layer.

Deviations: acts before the sub-layer's dropout, not after it, since some models apply dropout as a function. A norm's
gain changes by a factor beside it (`methods/norms.py`), so that rows of one batch may have different adapters.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from accorda.methods.contract import Adapter, Base, ModuleMethod, Traits
from accorda.methods.maths.bottleneck import Bottleneck
from accorda.methods.norms import NormAdapter, is_norm, norm_sites
from accorda.methods.sublayers import linears, present
from accorda.models.roles import Site
from accorda.recipe.types import PositiveInt

PLACES = ("attention.output", "cross_attention.output", "mlp.down")
STD = 1e-3


@dataclass(frozen=True, kw_only=True)
class Houlsby(ModuleMethod):
    """Settings of Houlsby's adapters."""

    paper = "arXiv:1902.00751"
    traits = Traits(mergeable=False, identity_at_init="near")

    target_modules: str | tuple[str, ...] = PLACES
    """what is adapted: the ends of sub-layers (of cross attention where there is any); or other roles, module names"""
    bottleneck_size: PositiveInt = 64
    """width between the two layers; the paper tries 8 to 256"""
    init: Literal["houlsby", "zero_up"] = "houlsby"
    """how weights start: houlsby (both near zero) or zero_up (the second at zero, so exactly as the base)"""
    layernorm: bool = True
    """train all norms too, as the paper does"""

    def sites(self, model: PreTrainedModel) -> list[Site]:
        """The chosen linears, and all norms if they train."""
        targets = present(model, PLACES) if self.target_modules == PLACES else self.target_modules
        return linears(model, targets, "houlsby") + (norm_sites(model) if self.layernorm else [])

    def build(self, site: Site, shared: nn.Module | None) -> Adapter:
        """The bottleneck after one linear, or the change of one norm."""
        return NormAdapter(site) if is_norm(site) else HoulsbyAdapter(site.out_features, self)


class HoulsbyAdapter(Adapter):
    """A bottleneck (D, M, D)."""

    def __init__(self, width: int, method: Houlsby):
        super().__init__()
        up: Callable[[Tensor], object] = nn.init.zeros_ if method.init == "zero_up" else near_zero
        self.bottleneck = Bottleneck((width, method.bottleneck_size, width), functional.gelu, near_zero, up)

    def output(self, x: Tensor, y: Tensor, base: Base) -> Tensor:
        """The base's y + bottleneck(y)."""
        return y + self.bottleneck(y)


def near_zero(weight: Tensor) -> None:
    """Fill from a normal of deviation STD, cut off at two deviations."""
    nn.init.trunc_normal_(weight, std=STD, a=-2 * STD, b=2 * STD)
