"""AdamW whose states live in pages: the paged optimizer of Dettmers et al., 2023, QLoRA (arXiv:2305.14314, section 3).

The update is `adamw`'s, bit for bit. States beyond the budget live in a file mapped into memory (CPU) or in pinned host
memory (CUDA) and come by pieces, one ahead of the update (`pages`): a long row finds the memory free that moments would
take.

Differs from the paper: what stays is decided by a stated budget and known beforehand; it is not left to the page faults
of unified memory when the device is full.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from accorda.training.optimizers.adamw import AdamW
from accorda.training.optimizers.contract import Groups
from accorda.training.optimizers.paged import Paged
from accorda.training.optimizers.piecewise import Entry, Piecewise


@dataclass(frozen=True, kw_only=True)
class PagedAdamW(Paged, AdamW):
    """AdamW for states that do not fit: all of them beyond the budget wait outside of memory."""

    def build(self, groups: Groups) -> torch.optim.Optimizer:
        """The optimizer; `lr` is 0 until the loop sets it."""
        return PagedAdamWOptimizer(groups, self)


class PagedAdamWOptimizer(Piecewise):
    """Torch's fused AdamW over pieces."""

    def __init__(self, groups: Groups, settings: PagedAdamW) -> None:
        self.settings = settings
        super().__init__(groups, settings.budget, settings.folder)

    def layout(self, parameter: nn.Parameter) -> dict[str, Entry]:
        """Two moments in the parameter's dtype, as torch has them."""
        return {"exp_avg": Entry(parameter.dtype), "exp_avg_sq": Entry(parameter.dtype)}

    def update(
        self, parameter: Tensor, gradient: Tensor, states: Mapping[str, Tensor], group: Mapping[str, Any], step: int
    ) -> None:
        """The fused kernel, which counts the step itself."""
        adamw(
            [parameter],
            [gradient],
            [states["exp_avg"]],
            [states["exp_avg_sq"]],
            [],
            [torch.full((), step - 1.0, device=parameter.device)],
            fused=True,
            amsgrad=False,
            beta1=self.settings.beta1,
            beta2=self.settings.beta2,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=self.settings.epsilon,
            maximize=False,
        )
