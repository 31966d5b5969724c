"""Perplexity: the exponential of the negative log-likelihood per supervised token.

    perplexity = exp(- sum of log p / number of supervised tokens)

Comparable only between models that share a tokenizer, on the same rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from accorda.evaluation.metric import Direction, Metric, Needs, Row


@dataclass(frozen=True, kw_only=True)
class Perplexity(Metric):
    """exp of the mean negative log-likelihood of the supervised tokens."""

    needs: ClassVar[Needs] = "likelihood"
    direction: ClassVar[Direction] = "lower"

    def statistics(self, row: Row) -> Sequence[float]:
        return (-row.log_likelihood, row.num_tokens)

    def values(self, totals: np.ndarray) -> dict[str, float]:
        with np.errstate(over="ignore"):  # a hopeless model's perplexity is infinite, which is the right answer
            return {"perplexity": float(np.exp(totals[0] / totals[1]))}
