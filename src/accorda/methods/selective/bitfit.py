"""BitFit: Simple Parameter-efficient Fine-tuning for Transformer-based Masked Language-models.

Ben Zaken, Ravfogel, Goldberg, 2021, arXiv:2106.10199.

    y = W x + b + delta        b (O,) frozen or absent, delta (O,) trained; norms alike

Starts as the base exactly: delta is zero. Merges where every chosen module's files have a place for a bias: b + delta.

Deviations: the paper trains the biases themselves; a change beside them takes the same steps and also exists where
there is no bias (Llama, T5) or the weight is held in a number format. `only_existing: true` is the paper's choice.
Weight decay pulls delta to zero, so the bias to its start. Biases of a language head are left alone; a pooler that the
checkpoint brought is tuned as in the paper, a new one trains whole.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from accorda.errors import Refusal
from accorda.methods.contract import Adapter, Base, ModuleMethod, Traits
from accorda.methods.rest import shift_of_keys
from accorda.models.heads import new_heads
from accorda.models.roles import Site, sites

ALL = "all"


@dataclass(frozen=True, kw_only=True)
class BitFit(ModuleMethod):
    """Settings of BitFit; `target_modules: all` is every linear layer and every norm."""

    paper = "arXiv:2106.10199"
    traits = Traits(mergeable=True, identity_at_init="exact")

    target_modules: str | tuple[str, ...] = ALL
    """all (linear layers and norms), a role (attention.query), a module name, or a list of them"""
    only_existing: bool = False
    """train only biases that the model has; false: give one to modules without"""

    def sites(self, model: PreTrainedModel) -> list[Site]:
        """The chosen modules, fused projections whole; those with a bias if only existing ones are wanted."""
        if self.target_modules == ALL:
            heads = {id(module) for head in new_heads(model).values() for module in head.modules()}
            found = [site for site in sites(model) if site.rows is None and site.role not in ("embedding", "head")]
            found = [site for site in found if id(site.module) not in heads]
        else:
            found = super().sites(model)
        if self.only_existing:
            found = [site for site in found if Base(site.module).bias is not None]
        if not found:
            raise Refusal(
                f"method.only_existing = true: no chosen module of this {model.config.model_type} model has a bias; "
                "leave it out to give each one"
            )
        return found

    def build(self, site: Site, shared: nn.Module | None) -> Adapter:
        """A zero change of the bias of one module, or of some of its rows."""
        return BitFitAdapter(site.out_features)

    def resting(self, site: Site, model: PreTrainedModel) -> str | None:
        """The bias of keys does nothing in some models."""
        return shift_of_keys(site.name, model) if site.role.endswith("attention.key") and site.rows is None else None


class BitFitAdapter(Adapter):
    """delta (O,)."""

    def __init__(self, out_features: int):
        super().__init__()
        self.delta = nn.Parameter(torch.zeros(out_features))

    def output(self, x: Tensor, y: Tensor, base: Base) -> Tensor:
        """The base's y + delta."""
        return y + self.delta

    def merged(self, base: Base) -> tuple[Tensor, Tensor | None]:
        """W, b + delta."""
        return base.weight, self.delta if base.bias is None else base.bias + self.delta
