"""Preference accuracy from rewards, against counting by hand."""

import numpy as np
import pytest

from accorda.data.preferences.batch import PreferenceSegment
from accorda.evaluation.intervals import estimate
from accorda.evaluation.metrics.preference_accuracy import PreferenceAccuracy
from accorda.evaluation.preferences.judge import row_of


def segment(*ranks):
    return PreferenceSegment(0, np.zeros(2, np.int32), np.ones(2, np.bool_), "", 1, borders=(0, 2), ranks=ranks)


@pytest.mark.parametrize(
    ("ranks", "rewards", "right", "pairs", "margin"),
    [
        ((0, 1), [2.0, 0.5], 1, 1, 1.5),
        ((0, 1), [0.5, 2.0], 0, 1, -1.5),
        ((0, 1), [1.0, 1.0], 0.5, 1, 0.0),
        ((1, 0), [0.5, 2.0], 1, 1, 1.5),
        ((0, 1, 1), [2.0, 1.0, 3.0], 1, 2, 0.0),
        ((0, 1, 2), [3.0, 2.0, 1.0], 3, 3, 4.0),
        ((0,), [0.3], 1, 1, 0.3),
        ((1,), [0.3], 0, 1, -0.3),
        ((1,), [-0.3], 1, 1, 0.3),
    ],
)
def test_a_row_by_hand(ranks, rewards, right, pairs, margin):
    row = row_of(segment(*ranks), 0.7, rewards)
    assert (row.num_right, row.num_pairs, row.log_likelihood) == (right, pairs, -0.7)
    assert row.margin == pytest.approx(margin)


def test_the_share_is_over_pairs_and_its_interval_around_it():
    rows = [row_of(segment(0, 1), 0.0, [1.0, 0.0]), row_of(segment(0, 1, 2), 0.0, [1.0, 2.0, 0.0])] * 10
    found = estimate(PreferenceAccuracy(), rows)["preference_accuracy"]
    assert found.value == pytest.approx(3 / 4)
    assert found.low < found.value < found.high
