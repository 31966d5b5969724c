"""ROUGE-1, ROUGE-2 and ROUGE-L: n-gram and longest-common-subsequence overlap, F measure, times 100.

Lin, "ROUGE: A Package for Automatic Evaluation of Summaries", 2004. Computed by the `rouge-score` package with
Porter stemming; the mean over rows, of the best reference per row.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np

from accorda.errors import Refusal
from accorda.evaluation.metric import Direction, Metric, Needs, Row
from accorda.recipe.words import install

NAMES = ("rouge1", "rouge2", "rougeL")


@cache
def scorer(stemmer: bool) -> Any:
    """The rouge-score package's scorer; a Refusal where the package is absent."""
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError:
        raise Refusal(f"metrics: rouge needs the rouge-score package: {install('metrics')}") from None
    return RougeScorer(list(NAMES), use_stemmer=stemmer)


@dataclass(frozen=True, kw_only=True)
class Rouge(Metric):
    """Mean ROUGE F measures, in [0, 100]."""

    needs: ClassVar[Needs] = "generations"
    direction: ClassVar[Direction] = "higher"

    stemmer: bool = True

    def __post_init__(self):
        scorer(self.stemmer)

    def statistics(self, row: Row) -> Sequence[float]:
        scores = [scorer(self.stemmer).score(reference, row.completion) for reference in row.references]
        return (*(max(score[name].fmeasure for score in scores) for name in NAMES), 1)

    def values(self, totals: np.ndarray) -> dict[str, float]:
        return {name: float(100 * total / totals[-1]) for name, total in zip(NAMES, totals, strict=False)}

    def notes(self, rows: Sequence[Row]) -> dict[str, str]:
        return {"stemmer": str(self.stemmer).lower()}
