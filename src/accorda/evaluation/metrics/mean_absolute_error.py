"""Mean absolute error: how far the numbers predicted are from the numbers meant, in their own unit."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from accorda.evaluation.metric import Direction, Metric, Needs, Row


@dataclass(frozen=True, kw_only=True)
class MeanAbsoluteError(Metric):
    """Mean distance of prediction and truth."""

    needs: ClassVar[Needs] = "numbers"
    direction: ClassVar[Direction] = "lower"

    def statistics(self, row: Row) -> Sequence[float]:
        return (abs(row.predicted_number - row.number), 1)

    def values(self, totals: np.ndarray) -> dict[str, float]:
        return {"mean_absolute_error": float(totals[0] / totals[1])}
