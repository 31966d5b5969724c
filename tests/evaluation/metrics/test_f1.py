"""Token F1, worked by hand."""

import pytest

from accorda.evaluation.intervals import estimate
from accorda.evaluation.metric import Row
from accorda.evaluation.metrics.f1 import F1, overlap


@pytest.mark.parametrize(
    ("completion", "reference", "expected"),
    [
        ("the cat sat", "a cat sat", 1.0),  # articles are dropped
        ("cat sat", "cat ran away", 0.4),  # precision 1/2, recall 1/3
        ("cat cat cat", "cat dog", 0.4),  # a word counts as often as both have it: precision 1/3, recall 1/2
        ("Yes!", "yes", 1.0),
        ("", "", 1.0),
        ("the", "", 1.0),  # nothing is left of an article
        ("", "cat", 0.0),
        ("dog", "cat", 0.0),
    ],
)
def test_by_hand(completion, reference, expected):
    assert overlap(completion, reference) == pytest.approx(expected)


def test_mean_over_rows_of_the_best_reference():
    rows = [Row("cat sat", ("dog", "cat ran away")), Row("dog", ("dog",))]
    assert estimate(F1(), rows)["f1"].value == pytest.approx(0.7)
