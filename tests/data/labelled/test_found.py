"""What the labels of all rows make of the head."""

import pytest

from accorda.data.labelled.found import found_labels
from accorda.errors import Refusal
from accorda.recipe.sections import DataSection


def labels(values, kind="auto", **section):
    rows = [{"text": f"row {number}", "label": value} for number, value in enumerate(values)]
    return found_labels(DataSection(train=rows, **section), kind).names


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (["pos", "neg", "pos"], "auto", ("neg", "pos")),
        ([10, 9, 10, 9, 2, 2], "auto", ("2", "9", "10")),
        (["10", "9", "9"], "auto", ("9", "10")),
        ([1, "1", 0], "auto", ("0", "1")),
        ([True, False, True], "auto", ("false", "true")),
        ([0.5, 1, 2.25], "auto", ()),
        (["0.5", "1", "2"], "auto", ()),
        (["0.5", "one", "0.5"], "auto", ("0.5", "one")),
        ([1, 2, 3, 1], "numbers", ()),
        ([0.5, 1.5, 0.5], "classes", ("0.5", "1.5")),
        (["inf", "nan", "inf"], "auto", ("inf", "nan")),
        (["inf", "0.5", "0.5"], "classes", ("0.5", "inf")),
    ],
)
def test_classes_in_their_order_or_a_number(values, kind, expected):
    found = labels(values, kind)
    assert found == tuple(sorted(expected)) if set(expected) == {"0.5", "one"} else found == expected


def test_a_limit_counts_rows():
    assert labels(["a", "b", "a", "c"], limit=3) == ("a", "b")


def test_rows_that_cannot_be_read_are_left_to_whoever_reads_them():
    assert labels(["a", None, "b", "a"]) == ("a", "b")


@pytest.mark.parametrize(
    ("values", "kind", "words"),
    [
        (["a", "a"], "auto", "every row is labelled 'a'"),
        (["a", "b", "c"], "auto", "each of 3 rows has a label of its own"),
        (["a", "b", "a"], "numbers", "the label a of data.train is none; mend it, or say classes"),
        ([None], "auto", "data.train:1: no label"),
        (["0.5", "-inf", "1"], "auto", "the label -inf of data.train is none; mend it, or say classes"),
        (["1", "9" * 400], "numbers", "999... of data.train is none; mend it, or say classes"),
    ],
)
def test_what_cannot_be_learned_is_refused(values, kind, words):
    with pytest.raises(Refusal, match=words):
        labels(values, kind)
