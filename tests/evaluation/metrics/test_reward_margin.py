"""The reward margin is a mean over pairs."""

import pytest
from tests.evaluation.metrics.test_preference_accuracy import segment

from accorda.evaluation.intervals import estimate
from accorda.evaluation.metrics.reward_margin import RewardMargin
from accorda.evaluation.preferences.judge import row_of


def test_the_mean_over_pairs():
    rows = [row_of(segment(0, 1), 0.0, [1.0, 0.5]), row_of(segment(0, 1, 2), 0.0, [4.0, 2.0, 0.0])]
    assert estimate(RewardMargin(), rows)["reward_margin"].value == pytest.approx((0.5 + 2 + 4 + 2) / 4)
