"""What metrics of classes are computed from: per class, how often it was right, said, and meant.

    tp_k = rows of class k called k,   said_k = rows called k,   meant_k = rows of class k

Three numbers per class add up over rows; the whole table of confusions is not needed.
"""

from abc import ABC
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from accorda.evaluation.metric import Direction, Metric, Needs, Row


@dataclass(frozen=True)
class Confusion:
    """The three counts, (K,) each."""

    right: np.ndarray
    said: np.ndarray
    meant: np.ndarray

    @staticmethod
    def of(totals: np.ndarray) -> "Confusion":
        """From `statistics` summed over rows."""
        right, said, meant = totals.reshape(3, -1)
        return Confusion(right, said, meant)

    @property
    def number(self) -> float:
        """Rows."""
        return float(self.meant.sum())


class OfConfusion(Metric, ABC):
    """A metric that is computed from the three counts, the higher the better."""

    needs: ClassVar[Needs] = "classes"
    direction: ClassVar[Direction] = "higher"

    def statistics(self, row: Row) -> Sequence[float]:
        """The 3 K numbers of one row."""
        found = np.zeros((3, row.num_classes))
        found[0, row.label] = float(row.label == row.predicted)
        found[1, row.predicted] = found[2, row.label] = 1.0
        return found.reshape(-1).tolist()
