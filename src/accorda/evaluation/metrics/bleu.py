"""BLEU: corpus-level n-gram precision with a brevity penalty, in [0, 100].

Papineni, Roukos, Ward, Zhu, "BLEU: a Method for Automatic Evaluation of Machine Translation", 2002; computed by
`sacrebleu` (Post, "A Call for Clarity in Reporting BLEU Scores", 2018, arXiv:1804.08771), whose signature is part of
the result. Corpus BLEU is not the mean of sentence scores: the n-gram counts of all rows are added first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np

from accorda.errors import Refusal
from accorda.evaluation.metric import Direction, Metric, Needs, Row
from accorda.recipe.words import install

ORDER = 4


@cache
def library(tokenize: str, lowercase: bool, effective_order: bool = True) -> Any:
    """A sacrebleu BLEU object; a Refusal where the package is absent or does not know the tokenizer."""
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ImportError:
        raise Refusal(f"metrics: bleu needs the sacrebleu package: {install('metrics')}") from None
    if tokenize not in BLEU.TOKENIZERS:
        raise Refusal(f"metrics: bleu.tokenize: {tokenize!r} is none of {', '.join(sorted(BLEU.TOKENIZERS))}")
    # Sentence scores are asked for their counts only, which effective_order does not touch; it silences a remark.
    return BLEU(tokenize=tokenize, lowercase=lowercase, effective_order=effective_order)


@dataclass(frozen=True, kw_only=True)
class Bleu(Metric):
    """Corpus BLEU, in [0, 100]."""

    needs: ClassVar[Needs] = "generations"
    direction: ClassVar[Direction] = "higher"

    tokenize: str = "13a"
    lowercase: bool = False

    def __post_init__(self):
        library(self.tokenize, self.lowercase)

    def statistics(self, row: Row) -> Sequence[float]:
        score = library(self.tokenize, self.lowercase).sentence_score(row.completion, list(row.references))
        return (*score.counts, *score.totals, score.sys_len, score.ref_len)

    def values(self, totals: np.ndarray) -> dict[str, float]:
        counts = [int(total) for total in totals]
        bleu = library(self.tokenize, self.lowercase)
        score = bleu.compute_bleu(counts[:ORDER], counts[ORDER:-2], counts[-2], counts[-1], smooth_method="exp")
        return {"bleu": float(score.score)}

    def notes(self, rows: Sequence[Row]) -> dict[str, str]:
        corpus = library(self.tokenize, self.lowercase, effective_order=False)
        num_references = max(len(row.references) for row in rows)
        corpus.corpus_score([""], [[""]] * num_references)  # the signature names the references of the last score
        return {"signature": str(corpus.get_signature())}
