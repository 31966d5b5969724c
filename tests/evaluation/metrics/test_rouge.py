"""ROUGE against the library it is computed by, and by hand."""

import sys

import numpy as np
import pytest
from rouge_score.rouge_scorer import RougeScorer

from accorda.errors import Refusal
from accorda.evaluation.intervals import estimate
from accorda.evaluation.metric import Row
from accorda.evaluation.metrics import rouge
from accorda.evaluation.metrics.rouge import Rouge

COMPLETIONS = ["The cat was found under the bed", "", "police kill the gunman", "running dogs ran"]
REFERENCES = ["the cat was under the bed", "something", "police killed the gunman", "the dog runs"]
ROWS = [Row(completion, (reference,)) for completion, reference in zip(COMPLETIONS, REFERENCES, strict=True)]


@pytest.mark.parametrize("stemmer", [True, False])
def test_equals_the_mean_of_the_library(stemmer):
    library = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=stemmer)
    scores = [
        library.score(reference, completion) for completion, reference in zip(COMPLETIONS, REFERENCES, strict=True)
    ]
    found = estimate(Rouge(stemmer=stemmer), ROWS)
    assert list(found) == ["rouge1", "rouge2", "rougeL"]
    for name, value in found.items():
        assert value.value == pytest.approx(100 * np.mean([score[name].fmeasure for score in scores]))


def test_by_hand():
    """7 words against 6: all 6 unigrams, 4 bigrams of 6 and 5, a common subsequence of 6."""
    found = estimate(Rouge(), ROWS[:1])
    assert found["rouge1"].value == pytest.approx(100 * 2 * 6 / 13)
    assert found["rouge2"].value == pytest.approx(100 * 2 * 4 / 11)
    assert found["rougeL"].value == pytest.approx(100 * 2 * 6 / 13)


def test_the_best_reference_counts():
    assert estimate(Rouge(), [Row("a b", ("c d", "a b"))])["rouge2"].value == 100


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "rouge_score.rouge_scorer", None)
    rouge.scorer.cache_clear()
    with pytest.raises(Refusal, match=r"pip install .*\[metrics\]'"):
        Rouge()
