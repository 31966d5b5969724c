"""What optimizers whose states live in pages have in common."""

from abc import ABC
from dataclasses import dataclass

from accorda.recipe.types import PositiveFloat
from accorda.training.optimizers.contract import Settings

MEGABYTE = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Paged(Settings, ABC):
    """How much stays in memory, and where the rest lies."""

    budget_mb: PositiveFloat = 64.0
    """megabytes of states that stay in memory, on the device"""
    folder: str | None = None
    """where the pages of a CPU lie; the system's folder for temporary files where none is given"""

    @property
    def budget(self) -> int:
        """In bytes."""
        return int(self.budget_mb * MEGABYTE)

    def bytes_in_memory(self, states: float) -> float:
        """The budget at most."""
        return min(states, self.budget_mb * MEGABYTE)
