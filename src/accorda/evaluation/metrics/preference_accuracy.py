"""Preference accuracy: how often the answer that people preferred has the higher reward.

Of a policy the reward is the one its log-probabilities imply, of a reward model what it says. An answer that was liked
or not, with nothing beside it, is right where its reward is on that side of zero. Equal rewards count half.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from accorda.evaluation.metric import Direction, Metric, Needs, Row


@dataclass(frozen=True, kw_only=True)
class PreferenceAccuracy(Metric):
    """Share of pairs in which the preferred answer wins, in [0, 1]."""

    needs: ClassVar[Needs] = "preferences"
    direction: ClassVar[Direction] = "higher"
    share: ClassVar[bool] = True

    def statistics(self, row: Row) -> Sequence[float]:
        return (row.num_right, row.num_pairs)

    def values(self, totals: np.ndarray) -> dict[str, float]:
        return {"preference_accuracy": float(totals[0] / totals[1])}
