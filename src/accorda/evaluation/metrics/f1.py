"""Token F1: how far the words of completion and reference overlap, as a bag.

Rajpurkar, Zhang, Lopyrev, Liang, "SQuAD: 100,000+ Questions for Machine Comprehension of Text", 2016,
arXiv:1606.05250. After SQuAD's normalisation (case, punctuation, articles, spaces), with `common` the size of the
words' multiset intersection:

    precision = common / words of the completion,  recall = common / words of the reference
    F1 = 2 precision recall / (precision + recall)

The best reference counts. Two empty texts agree (1), an empty one and a non-empty one do not (0), as in SQuAD 2.0.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from accorda.evaluation.metric import Direction, Metric, Needs, Row
from accorda.evaluation.normalise import normalised


def overlap(completion: str, reference: str) -> float:
    """F1 of the normalised words of two texts, in [0, 1]."""
    words, wanted = normalised(completion, "squad").split(), normalised(reference, "squad").split()
    if not words or not wanted:
        return float(words == wanted)
    common = (Counter(words) & Counter(wanted)).total()
    return 2 * common / (len(words) + len(wanted))


@dataclass(frozen=True, kw_only=True)
class F1(Metric):
    """Mean SQuAD token F1, in [0, 1]."""

    needs: ClassVar[Needs] = "generations"
    direction: ClassVar[Direction] = "higher"

    def statistics(self, row: Row) -> Sequence[float]:
        return (max(overlap(row.completion, reference) for reference in row.references), 1)

    def values(self, totals: np.ndarray) -> dict[str, float]:
        return {"f1": float(totals[0] / totals[1])}
