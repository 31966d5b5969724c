"""Reward margin: by how much the reward of the preferred answer is above the other's, on the mean."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from accorda.evaluation.metric import Direction, Metric, Needs, Row


@dataclass(frozen=True, kw_only=True)
class RewardMargin(Metric):
    """Mean difference of rewards over pairs; its unit is the reward's own."""

    needs: ClassVar[Needs] = "preferences"
    direction: ClassVar[Direction] = "higher"

    def statistics(self, row: Row) -> Sequence[float]:
        return (row.margin, row.num_pairs)

    def values(self, totals: np.ndarray) -> dict[str, float]:
        return {"reward_margin": float(totals[0] / totals[1])}
