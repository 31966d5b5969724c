"""AdaLoRA: Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning. Zhang et al., 2023, arXiv:2303.10512.

    y = W x + b + s * P (Lambda * (Q dropout(x)))        W (O, I) frozen, P (O, R), Lambda (R,), Q (R, I)
    added to the loss: orthogonality * mean over layers of |P^T P - 1|^2 + |Q Q^T - 1|^2, so that Lambda is like
    singular values

A triplet is a column of P, its entry of Lambda and its row of Q. Every layer begins with `initial_rank` of them; a
budget b(t) for all layers together falls from initial_rank to rank per layer, with the cube of the time that is left.
After a step the most important b(t) triplets keep their Lambda, the others' becomes zero; it goes on training and may
come back. Importance is that of Lambda plus the means of those of P's column and Q's row; of an entry w

    I = |w dL/dw|,  i = beta1 i + (1 - beta1) I,  u = beta2 u + (1 - beta2) |I - i|,  importance = i u

Starts as the base exactly: P and Q random (deviation 0.02), Lambda zero. Merges: W + s P diag(Lambda) Q.

Deviations: as in the authors' code, s = alpha / (initial_rank + 1e-5), the orthogonality is a mean over layers (the
paper sums, which grows with depth), and importance is taken after the update, with the gradient from before it. The
budget is reached, and held, from step (1 - final_share) T on. `all-linear` is the default, as in the paper.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from accorda.errors import Refusal
from accorda.methods.contract import Adapter, Base, ModuleMethod, Traits
from accorda.models.roles import Site, is_linear
from accorda.recipe.types import NonNegativeFloat, PositiveFloat, PositiveInt, Share

PRUNED = "the budget may leave a layer no triplet: Lambda then ends at zero, where it began"


@dataclass(frozen=True, kw_only=True)
class AdaLoRA(ModuleMethod):
    """Settings of AdaLoRA. Shares are of the run's steps."""

    paper = "arXiv:2303.10512"
    traits = Traits(mergeable=True, identity_at_init="exact")

    rank: PositiveInt = 8
    """how many directions a layer may change in at the end, on average over the layers"""
    initial_rank: PositiveInt = 12
    """how many every layer begins with; the paper takes one and a half times the rank"""
    alpha: PositiveFloat = 32.0
    """alpha / initial_rank scales the change"""
    dropout: Share = 0.0
    """share of the inputs of Q that are dropped while training"""
    orthogonality: NonNegativeFloat = 0.1
    """weight of the extra loss that keeps P and Q orthogonal; the paper tries 0.1, 0.3 and 0.5"""
    beta1: Share = 0.85
    """how slowly the smoothed sensitivity follows"""
    beta2: Share = 0.85
    """how slowly the smoothed uncertainty follows"""
    initial_share: Share = 0.1
    """share of the steps before the budget begins to fall"""
    final_share: Share = 0.5
    """share of the steps, at the end, in which it no longer does"""
    every: PositiveInt = 10
    """steps from one allocation to the next while the budget falls"""

    def __post_init__(self) -> None:
        if self.rank > self.initial_rank:
            raise ValueError(f"rank = {self.rank}: above initial_rank = {self.initial_rank}; raise initial_rank too")
        if self.initial_share + self.final_share >= 1:
            raise ValueError(
                f"initial_share = {self.initial_share}: with final_share = {self.final_share} it leaves no step in "
                "which the budget falls; lower one of them"
            )

    def build(self, site: Site, shared: nn.Module | None) -> Adapter:
        """The triplets of one linear layer or one part of it."""
        if not is_linear(site.module):
            raise Refusal(
                f"method.target_modules: adalora acts on linear layers, and {site.name} ({site.role}) is none"
            )
        return AdaLoRAAdapter(site, self)

    def resting(self, site: Site, model: PreTrainedModel) -> str | Mapping[str, str] | None:
        """Lambda of a layer that keeps no triplet."""
        return {"Lambda": PRUNED}

    def extra_loss(self, adapters: Sequence[Adapter]) -> Tensor:
        """How far P and Q are from orthogonal, weighted."""
        return self.orthogonality * torch.stack([a.skewness() for a in _mine(adapters)]).mean()

    def on_step(self, adapters: Sequence[Adapter], step: int, num_steps: int) -> None:
        """Take note of the gradients, and allocate the budget where it is due."""
        mine, last = _mine(adapters), num_steps - round(self.final_share * num_steps)
        if step < last:
            for adapter in mine:
                adapter.observe(self.beta1, self.beta2)
        if step >= last or (step > self.initial_share * num_steps and step % self.every == 0):
            allocate(mine, self.budget(len(mine), step, num_steps))

    def budget(self, num_layers: int, step: int, num_steps: int) -> int:
        """Triplets that all layers together may keep after a step."""
        first, last = round(self.initial_share * num_steps), num_steps - round(self.final_share * num_steps)
        left = min(max((last - step) / max(last - first, 1), 0.0), 1.0)
        return int(num_layers * (self.rank + (self.initial_rank - self.rank) * left**3))


class AdaLoRAAdapter(Adapter):
    """P (O, R), Lambda (R,), Q (R, I); sensitivity and uncertainty of each entry, which the files leave out."""

    def __init__(self, site: Site, method: AdaLoRA):
        super().__init__()
        rank = method.initial_rank
        self.P = nn.Parameter(0.02 * torch.randn(site.out_features, rank))
        self.Lambda = nn.Parameter(torch.zeros(rank))
        self.Q = nn.Parameter(0.02 * torch.randn(rank, site.in_features))
        self.dropout = nn.Dropout(method.dropout)
        self.scaling = method.alpha / (rank + 1e-5)
        for name, parameter in list(self.named_parameters()):
            for kind in ("sensitivity", "uncertainty"):
                self.register_buffer(f"{name}_{kind}", torch.zeros_like(parameter), persistent=False)

    def output(self, x: Tensor, y: Tensor, base: Base) -> Tensor:
        """The base's y + scaling * P (Lambda * (Q dropout(x)))."""
        inner = self.Lambda * functional.linear(self.dropout(x), self.Q)
        return y + self.scaling * functional.linear(inner, self.P)

    def merged(self, base: Base) -> tuple[Tensor, Tensor | None]:
        """W + scaling * P diag(Lambda) Q."""
        return base.weight.float() + self.scaling * ((self.P * self.Lambda) @ self.Q), base.bias

    def skewness(self) -> Tensor:
        """|P^T P - 1|^2 + |Q Q^T - 1|^2."""
        one = torch.eye(len(self.Lambda), device=self.P.device, dtype=self.P.dtype)
        return (self.P.T @ self.P - one).square().sum() + (self.Q @ self.Q.T - one).square().sum()

    @torch.no_grad()
    def observe(self, beta1: float, beta2: float) -> None:
        """Let sensitivity and uncertainty of every entry follow its gradient."""
        for name, parameter in self.named_parameters():
            if parameter.grad is not None:
                now, smooth = (parameter * parameter.grad).abs(), self.get_buffer(f"{name}_sensitivity")
                smooth.lerp_(now, 1 - beta1)
                self.get_buffer(f"{name}_uncertainty").lerp_((now - smooth).abs(), 1 - beta2)

    def importance(self) -> Tensor:
        """Of every triplet (R,)."""
        found = {n: self.get_buffer(f"{n}_sensitivity") * self.get_buffer(f"{n}_uncertainty") for n in self._parameters}
        return found["Lambda"] + found["P"].mean(0) + found["Q"].mean(1)


@torch.no_grad()
def allocate(adapters: Sequence[AdaLoRAAdapter], budget: int) -> None:
    """Zero Lambda of all but the `budget` most important triplets; of equal ones the first are kept."""
    scores = torch.cat([adapter.importance() for adapter in adapters])
    dropped = torch.ones_like(scores, dtype=torch.bool)
    dropped[scores.argsort(descending=True, stable=True)[:budget]] = False
    for adapter, mine in zip(adapters, dropped.split([len(a.Lambda) for a in adapters]), strict=True):
        adapter.Lambda.masked_fill_(mine, 0.0)


def _mine(adapters: Sequence[Adapter]) -> list[AdaLoRAAdapter]:
    return [adapter for adapter in adapters if isinstance(adapter, AdaLoRAAdapter)]
