"""AdamW with 8-bit states in pages: `adamw_8bit`'s update, bit for bit, on `paged_adamw`'s pages."""

from dataclasses import dataclass

import torch

from accorda.training.optimizers.adamw_8bit import AdamW8bit, AdamW8bitOptimizer
from accorda.training.optimizers.contract import Groups
from accorda.training.optimizers.paged import Paged


@dataclass(frozen=True, kw_only=True)
class PagedAdamW8bit(Paged, AdamW8bit):
    """A byte for each moment, and those beyond the budget wait outside of memory."""

    def build(self, groups: Groups) -> torch.optim.Optimizer:
        """The optimizer; `lr` is 0 until the loop sets it."""
        return AdamW8bitOptimizer(groups, self, self.budget, self.folder)
