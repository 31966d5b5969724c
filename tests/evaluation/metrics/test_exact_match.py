"""Exact match, worked by hand."""

import pytest

from accorda.evaluation.intervals import estimate
from accorda.evaluation.metric import Row
from accorda.evaluation.metrics.exact_match import ExactMatch


@pytest.mark.parametrize(
    ("completion", "reference", "none", "basic", "squad"),
    [
        ("Paris", "Paris", 1, 1, 1),
        (" paris\n", "Paris", 0, 1, 1),
        ("The  Eiffel Tower.", "eiffel tower", 0, 0, 1),
        ("the eiffel  tower", "The Eiffel Tower", 0, 1, 1),
        ("3.14", "314", 0, 0, 1),  # squad drops the point: why it is not the default
        ("theatre", "atre", 0, 0, 0),  # an article inside a word is none
        ("", "Paris", 0, 0, 0),
    ],
)
def test_what_each_normalisation_lets_pass(completion, reference, none, basic, squad):
    row = Row(completion=completion, references=(reference,))
    assert [ExactMatch(normalise=how).statistics(row)[0] for how in ("none", "basic", "squad")] == [none, basic, squad]


def test_share_of_rows_and_any_reference():
    rows = [Row("yes", ("no", "Yes")), Row("no", ("yes",)), Row("no", ("yes",)), Row("", ("yes",))]
    assert estimate(ExactMatch(), rows)["exact_match"].value == 0.25
