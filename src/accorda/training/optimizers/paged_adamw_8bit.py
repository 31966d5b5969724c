"""AdamW with 8-bit states in pages: `adamw_8bit`'s update, bit for bit, on `paged_adamw`'s pages."""

from dataclasses import dataclass

import torch

from accorda.recipe.types import PositiveFloat
from accorda.training.optimizers.adamw_8bit import AdamW8bit, AdamW8bitOptimizer
from accorda.training.optimizers.contract import Groups

MEGABYTE = 1_000_000


@dataclass(frozen=True, kw_only=True)
class PagedAdamW8bit(AdamW8bit):
    """A byte for each moment, and those beyond the budget wait outside of memory."""

    budget_mb: PositiveFloat = 64.0
    """megabytes of states that stay in memory, on the device"""
    folder: str | None = None
    """where the pages of a CPU lie; the system's folder for temporary files where none is given"""

    def build(self, groups: Groups) -> torch.optim.Optimizer:
        """The optimizer; `lr` is 0 until the loop sets it."""
        return AdamW8bitOptimizer(groups, self, int(self.budget_mb * MEGABYTE), self.folder)

    def bytes_in_memory(self, states: float) -> float:
        """The budget at most."""
        return min(states, self.budget_mb * MEGABYTE)
