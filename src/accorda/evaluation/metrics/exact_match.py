"""Exact match: the share of rows whose completion equals one of its references.

Rajpurkar, Zhang, Lopyrev, Liang, "SQuAD: 100,000+ Questions for Machine Comprehension of Text", 2016,
arXiv:1606.05250, compares after dropping case, punctuation, articles and surplus spaces (`normalise="squad"`). The
default drops case and surplus spaces only, so that code and numbers are not mangled.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from accorda.evaluation.metric import Direction, Metric, Needs, Row
from accorda.evaluation.normalise import normalised


@dataclass(frozen=True, kw_only=True)
class ExactMatch(Metric):
    """Share of rows that match exactly, in [0, 1]."""

    needs: ClassVar[Needs] = "generations"
    direction: ClassVar[Direction] = "higher"
    share: ClassVar[bool] = True

    normalise: Literal["none", "basic", "squad"] = "basic"

    def statistics(self, row: Row) -> Sequence[float]:
        completion = normalised(row.completion, self.normalise)
        return (any(completion == normalised(reference, self.normalise) for reference in row.references), 1)

    def values(self, totals: np.ndarray) -> dict[str, float]:
        return {"exact_match": float(totals[0] / totals[1])}

    def notes(self, rows: Sequence[Row]) -> dict[str, str]:
        return {"normalise": self.normalise}
