"""Held-out comparisons as metrics take them: prompts are drawn whole, and few pairs are never certain."""

import numpy as np
import pytest

from accorda.data.batch import Segment
from accorda.data.preferences.batch import compared
from accorda.evaluation.intervals import estimate
from accorda.evaluation.metrics.preference_accuracy import PreferenceAccuracy
from accorda.evaluation.metrics.reward_margin import RewardMargin
from accorda.evaluation.preferences.judge import rows_of


def row(prompt, ranks=(0, 1)):
    """Answers of one token behind a prompt that is one number."""
    answers = [
        Segment(0, np.array([1, prompt, 9 + place]), np.array([False, False, True]), "f", 1)
        for place in range(len(ranks))
    ]
    return compared(answers, ranks)


def accuracy(rows, rewards):
    found = [(0.5, list(each)) for each in rewards]
    return estimate(PreferenceAccuracy(), rows_of(rows, found))["preference_accuracy"]


def test_pairs_of_one_prompt_are_drawn_together():
    right, wrong = (1.0, 0.0), (0.0, 1.0)
    rewards = [right] * 50 + [wrong] * 50
    apart = accuracy([row(prompt) for prompt in range(100)], rewards)
    together = accuracy([row(place // 10) for place in range(100)], rewards)  # ten prompts, ten pairs alike of each
    assert apart.value == together.value == 0.5
    assert together.high - together.low > 2.5 * (apart.high - apart.low)  # the root of ten, were it many prompts


def test_sums_stay_what_they_are():
    rows = [row(5), row(5, (0, 1, 2)), row(6)]
    found = [(0.25, [1.0, 0.5]), (0.5, [0.0, 1.0, 2.0]), (0.75, [1.0, 1.0])]
    made = rows_of(rows, found)
    assert [(each.num_pairs, each.num_right, each.num_tokens) for each in made] == [(4, 1.0, 2), (1, 0.5, 1)]
    assert sum(each.log_likelihood for each in made) == -1.5
    assert estimate(RewardMargin(), made)["reward_margin"].value == pytest.approx((0.5 - 4.0 + 0.0) / 5)


def test_rows_that_all_ask_one_thing_still_have_an_interval():
    found = accuracy([row(5)] * 10, [(1.0, 0.0)] * 5 + [(0.0, 1.0)] * 5)
    assert found.low < 0.5 < found.high


@pytest.mark.parametrize(("rewards", "bounds"), [((2, 1, 0), (0.3976, 1.0)), ((0, 1, 2), (0.0, 0.6024))])
def test_four_prompts_all_right_or_all_wrong_are_not_certain(rewards, bounds):
    rows = [row(0), row(1, (0, 1, 2)), row(2, (0, 1)), row(3, (0, 1, 2))]  # rankings: not all rows count alike
    found = accuracy(rows, [rewards[: len(each.ranks)] for each in rows])
    assert (found.low, found.high) == pytest.approx(bounds, abs=1e-4)  # .025 ** (1 / 4)
