"""What every optimizer's settings have in common."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

Groups = Sequence[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Settings(ABC):
    """An optimizer's hyperparameters, except those that every optimizer has: learning rate and weight decay."""

    @abstractmethod
    def build(self, groups: Groups) -> torch.optim.Optimizer:
        """The optimizer over parameter groups; each group brings `params` and `weight_decay`, the loop sets `lr`."""

    @abstractmethod
    def bytes_per_parameter(self, shape: Sequence[int]) -> float:
        """Bytes of state for one fp32 tensor of this shape, divided by its size: what the memory bill counts."""

    def bytes_in_memory(self, states: float) -> float:
        """Of so many bytes of states in all, those that are in memory at once."""
        return states
