"""Parallel adapter: Towards a Unified View of Parameter-Efficient Transfer Learning.

He, Zhou, Ma, Berg-Kirkpatrick, Neubig, 2021, arXiv:2110.04366, section 3.3, table 2.

    y = FFN(x) + s (W_up relu(W_down x + b_down) + b_up)        W_down (M, D), W_up (D, M), s a number

beside the whole feed-forward: reads what it receives, adds to what it gives. Beside attention with `target_modules:
attention.output`.

Starts as the base exactly: W_down uniform on +-1/sqrt(D), W_up and the biases zero. Never merges: the feed-forward has
a nonlinearity of its own between the two places.

Deviations: adds before the feed-forward's dropout.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from accorda.methods.contract import Adapter, Base, ModuleMethod, Traits
from accorda.methods.maths.bottleneck import Bottleneck, reduced
from accorda.methods.sublayers import beginning, linears, num_features
from accorda.models.roles import Site
from accorda.recipe.types import PositiveFloat, PositiveInt

START = partial(nn.init.kaiming_uniform_, a=math.sqrt(5))


@dataclass(frozen=True, kw_only=True)
class ParallelAdapter(ModuleMethod):
    """Settings of the parallel adapter."""

    paper = "arXiv:2110.04366"
    traits = Traits(mergeable=False, identity_at_init="exact")

    target_modules: str | tuple[str, ...] = "mlp.down"
    """beside what it stands: the sub-layer that ends here (mlp.down, attention.output); or other roles, module names"""
    reduction_factor: PositiveInt = 2
    """the model's width divided by that of the bottleneck"""
    scaling: PositiveFloat = 4.0
    """the factor s on what is added"""
    learn_scaling: bool = False
    """train s as well, one per adapter; false: it stays"""

    def sites(self, model: PreTrainedModel) -> list[Site]:
        """Where the adapters add."""
        return linears(model, self.target_modules, "parallel_adapter")

    def entry(self, site: Site, sites: Sequence[Site]) -> Site | None:
        """Where they read: the beginning of the sub-layer."""
        return beginning(site, sites)

    def build(self, site: Site, shared: nn.Module | None) -> Adapter:
        """The bottleneck beside one sub-layer."""
        return ParallelAdapterAdapter(site, self)


class ParallelAdapterAdapter(Adapter):
    """A bottleneck (I, M, O), and s if it is learned."""

    def __init__(self, site: Site, method: ParallelAdapter):
        super().__init__()
        widths = num_features(site), reduced(site.out_features, method.reduction_factor), site.out_features
        self.bottleneck = Bottleneck(widths, functional.relu, START, nn.init.zeros_)
        self.scaling = nn.Parameter(torch.tensor(method.scaling)) if method.learn_scaling else method.scaling

    def output(self, x: Tensor, y: Tensor, base: Base) -> Tensor:
        """The base's y + s * bottleneck(x); x is what the sub-layer received."""
        return y + self.scaling * self.bottleneck(x)
