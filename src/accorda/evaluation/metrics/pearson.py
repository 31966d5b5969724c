"""Pearson correlation of the numbers predicted with the numbers meant, 0 where either is always the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from accorda.evaluation.metric import Direction, Metric, Needs, Row


@dataclass(frozen=True, kw_only=True)
class Pearson(Metric):
    """Linear correlation, in [-1, 1]."""

    needs: ClassVar[Needs] = "numbers"
    direction: ClassVar[Direction] = "higher"

    def statistics(self, row: Row) -> Sequence[float]:
        x, y = row.predicted_number, row.number
        return (1.0, x, y, x * x, y * y, x * y)

    def values(self, totals: np.ndarray) -> dict[str, float]:
        n, x, y, xx, yy, xy = totals.tolist()
        below = max(n * xx - x * x, 0.0) * max(n * yy - y * y, 0.0)
        return {"pearson": float((n * xy - x * y) / np.sqrt(below)) if below > 0 else 0.0}
