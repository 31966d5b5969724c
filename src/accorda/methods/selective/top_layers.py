"""Top layers: What Would Elsa Do? Freezing Layers During Transformer Fine-Tuning. Lee, Tang and Lin, 2019.

arXiv:1911.03090.

    h_l = block_l(h_{l-1})        l > L - k trained from the checkpoint's values, l <= L - k frozen

Starts as the base exactly. Merging makes the trained values the base's. The blocks below build no graph: the backward
pass ends at block L - k + 1, and neither gradients nor activations below it are held.

Deviations: the paper also trains the layer that gives the answer. Here new heads always train, and the language head
stays as it is: it is mostly tied to the embedding, whose gradient would pass through every block. Of an
encoder-decoder the decoder's last blocks train.
"""

from dataclasses import dataclass

from torch import Tensor
from transformers import PreTrainedModel

from accorda.errors import Refusal
from accorda.methods.contract import ParameterMethod, Traits
from accorda.methods.targets import base_parameters
from accorda.models.roles import backbones, blocks, sites
from accorda.recipe.types import PositiveInt


@dataclass(frozen=True, kw_only=True)
class TopLayers(ParameterMethod):
    """Settings of training the last blocks."""

    paper = "arXiv:1911.03090"
    traits = Traits(mergeable=True, identity_at_init="exact", quantized_base=False)

    num_layers: PositiveInt = 1
    """how many of the last blocks train; the paper finds a quarter of them to be enough"""
    final_norm: bool = True
    """train the norm behind the last block too, where there is one"""

    def chosen(self, model: PreTrainedModel) -> dict[str, Tensor | None]:
        """Every parameter of the last blocks, and of the norm behind them."""
        stack = list(backbones(model))[-1]
        known = [block for block in blocks(model) if block.stack == stack]
        if self.num_layers > len(known):
            kind = f"{stack or model.config.model_type}"
            raise Refusal(f"method.num_layers = {self.num_layers}: this {kind} has {len(known)} blocks")
        modules = [block.name for block in known[-self.num_layers :]]
        if self.final_norm:
            modules += final_norms(model)
        inside = tuple(f"{name}." for name in modules)
        return dict.fromkeys(name for name in base_parameters(model) if name.startswith(inside))


def final_norms(model: PreTrainedModel) -> list[str]:
    """The names of the norms behind the blocks of the last stack; those of embeddings stand before them."""
    backbone = list(backbones(model).values())[-1]
    inside = {id(module) for module in backbone.modules()}
    norms = [site for site in sites(model) if site.role == "norm" and site.block < 0 and id(site.module) in inside]
    return [site.name for site in norms if "embed" not in site.name]
