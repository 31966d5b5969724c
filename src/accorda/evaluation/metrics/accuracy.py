"""Accuracy: the share of rows whose likeliest class is the right one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from accorda.evaluation.metric import Direction, Metric, Needs, Row


@dataclass(frozen=True, kw_only=True)
class Accuracy(Metric):
    """Share of rows that are called by their class, in [0, 1]."""

    needs: ClassVar[Needs] = "classes"
    direction: ClassVar[Direction] = "higher"
    share: ClassVar[bool] = True

    def statistics(self, row: Row) -> Sequence[float]:
        return (float(row.label == row.predicted), 1)

    def values(self, totals: np.ndarray) -> dict[str, float]:
        return {"accuracy": float(totals[0] / totals[1])}
