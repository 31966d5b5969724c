"""(IA)3: Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning.

Liu et al., 2022, arXiv:2205.05638, section 3.3.

    softmax(q (l_k * k)^T / sqrt(d)) (l_v * v)        l_k, l_v: one factor per feature of keys and values
    W_down (l_ff * h)                                 h: what the feed-forward's last layer receives

Keys and values of cross attention have vectors of their own. Starts as the base exactly: all factors are one. Merges:
rows of a weight and entries of its bias by the factors of its output, columns by those of its input.

Deviations: in a gated feed-forward the reference code scales the ungated branch; the same factors on what `mlp.down`
receives compute the same. The unlikelihood and length losses of the paper's recipe are no part of the method.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from accorda.errors import Refusal
from accorda.methods.contract import Adapter, Base, ModuleMethod, Traits
from accorda.methods.sublayers import linears, present
from accorda.models.roles import Site, find

PLACES = ("attention.key", "attention.value", "cross_attention.key", "cross_attention.value", "mlp.down")


@dataclass(frozen=True, kw_only=True)
class IA3(ModuleMethod):
    """Settings of (IA)3: which modules are scaled, and of which of them the input."""

    paper = "arXiv:2205.05638"
    traits = Traits(mergeable=True, identity_at_init="exact")

    target_modules: str | tuple[str, ...] = PLACES
    """what is scaled: keys, values (of cross attention where there is any) and feed-forward; or other places"""
    feedforward_modules: str | tuple[str, ...] = "mlp.down"
    """of which of these targets the input is scaled: roles or module names; of all others the output. []: of none"""

    def sites(self, model: PreTrainedModel) -> list[Site]:
        """The chosen linears."""
        if self._on_input():
            find(model, self._on_input(), setting="method.feedforward_modules")  # refuses a name that no module has
        found = linears(model, present(model, PLACES) if self.target_modules == PLACES else self.target_modules, "ia3")
        for name in () if self.feedforward_modules == type(self).feedforward_modules else self._on_input():
            if not any(named(site, name) for site in found):
                roles = ", ".join(dict.fromkeys(site.role for site in found))
                raise Refusal(
                    f"method.feedforward_modules: {name} is none of the targets, so nothing would be scaled on its "
                    f"input; choose of {roles}, or name it in method.target_modules too"
                )
        return found

    def build(self, site: Site, shared: nn.Module | None) -> Adapter:
        """The factors of one linear, or of some of its outputs."""
        if not any(named(site, name) for name in self._on_input()):
            return OutputAdapter(site.out_features)
        if site.rows is not None:
            raise Refusal(
                f"method.feedforward_modules: {site.role} shares its input with the other parts of {site.name}"
            )
        return InputAdapter(site.in_features)

    def _on_input(self) -> tuple[str, ...]:
        names = self.feedforward_modules
        return (names,) if isinstance(names, str) else tuple(names)


def named(site: Site, name: str) -> bool:
    """Whether a role or module name means the site."""
    return site.role == name or f".{site.name}".endswith(f".{name}")


class OutputAdapter(Adapter):
    """l (O,)."""

    def __init__(self, out_features: int):
        super().__init__()
        self.ia3_l = nn.Parameter(torch.ones(out_features))

    def output(self, x: Tensor, y: Tensor, base: Base) -> Tensor:
        """The base's y * l."""
        return y * self.ia3_l

    def merged(self, base: Base) -> tuple[Tensor, Tensor | None]:
        """Rows of W and entries of b by l."""
        return base.weight * self.ia3_l[:, None], None if base.bias is None else base.bias * self.ia3_l


class InputAdapter(Adapter):
    """l (I,)."""

    def __init__(self, in_features: int):
        super().__init__()
        self.ia3_l = nn.Parameter(torch.ones(in_features))

    def input(self, x: Tensor, base: Base) -> Tensor:
        """What the module receives, x * l."""
        return x * self.ia3_l

    def merged(self, base: Base) -> tuple[Tensor, Tensor | None]:
        """Columns of W by l."""
        return base.weight * self.ia3_l, base.bias
