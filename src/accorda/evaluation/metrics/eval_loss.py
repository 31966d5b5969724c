"""Evaluation loss: negative log-likelihood per supervised token, in nats.

    eval_loss = - sum over rows of log p(completion | prompt) / sum over rows of supervised tokens

Weighted by tokens, not by rows: a long row counts as much as its tokens do, as in training.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from accorda.evaluation.metric import Direction, Metric, Needs, Row


@dataclass(frozen=True, kw_only=True)
class EvalLoss(Metric):
    """Mean negative log-likelihood of the supervised tokens."""

    needs: ClassVar[Needs] = "likelihood"
    direction: ClassVar[Direction] = "lower"

    def statistics(self, row: Row) -> Sequence[float]:
        return (-row.log_likelihood, row.num_tokens)

    def values(self, totals: np.ndarray) -> dict[str, float]:
        return {"eval_loss": float(totals[0] / totals[1])}
