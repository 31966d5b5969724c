"""What a tracker is."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar


class Tracker(ABC):
    """Copies a run's events to another program's store. Made, used and closed in a thread beside the training.

    `place` is a folder inside the run that is the tracker's own; a resumed run finds there what it left.
    """

    package: ClassVar[str]
    """The module it needs, which is also the name of the extra that installs it."""

    @abstractmethod
    def __init__(self, run: Path, place: Path, settings: Mapping[str, Any]) -> None:
        """Begin, or go on with, the run's record. `settings` are the recipe's, by dotted name."""

    @abstractmethod
    def write(self, event: Mapping[str, Any]) -> None:
        """Record one event of the log."""

    @abstractmethod
    def close(self, complete: bool) -> None:
        """Finish the record; `complete` tells whether the run came to its end."""


def metrics(event: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a step or an evaluation by names that say which: `train/loss`, `evaluation/eval_loss`."""
    group = {"step": "train", "evaluation": "evaluation"}.get(event["event"])
    if group is None:
        return {}
    return {f"{group}/{k}": float(v) for k, v in event.items() if k != "step" and isinstance(v, int | float)}
