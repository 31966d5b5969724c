"""Win rates against counting, and their intervals against the normal's."""

import numpy as np
import pytest

from accorda.evaluation.preferences.facts import stated, true_reward
from accorda.evaluation.preferences.winning import win_rate


def test_wins_count_one_and_ties_a_half():
    found = win_rate([3, 2, 1, 5], [1, 2, 4, 0])
    assert found.value == (1 + 0.5 + 0 + 1) / 4
    assert win_rate([1, 4, 0], [3, 2, 0]).value == win_rate([3, 2, 0], [1, 4, 0]).value == 0.5


def test_the_interval_is_that_of_paired_prompts():
    draws = np.random.default_rng(3)
    ours, theirs = draws.normal(0.5, 1, 400), draws.normal(0, 1, 400)
    found, won = win_rate(list(ours), list(theirs)), ours > theirs
    error = 1.96 * won.std() / 20
    assert found.value == pytest.approx(won.mean())
    assert (found.low, found.high) == pytest.approx((won.mean() - error, won.mean() + error), abs=0.012)
    assert found == win_rate(list(ours), list(theirs))


def test_four_of_four_are_not_certainty():
    found = win_rate([2, 3, 4, 5], [1, 1, 1, 1])
    assert (found.value, found.high) == (1, 1)
    assert found.low == pytest.approx(0.025 ** (1 / 4))


def test_ties_alone_are_not_certainty_either():
    """Four ties: as many others as may go unseen in four with probability 1/40, all won or all lost."""
    found = win_rate([1, 2, 3, 4], [1, 2, 3, 4])
    others = 1 - 0.025 ** (1 / 4)
    assert (found.value, found.low, found.high) == (
        0.5,
        pytest.approx(0.5 - others / 2),
        pytest.approx(0.5 + others / 2),
    )
    many = win_rate([1] * 400, [1] * 400)
    assert 0.49 < many.low < 0.5 < many.high < 0.51


@pytest.mark.parametrize(("ours", "theirs"), [([], []), ([1.0], [1.0, 2.0])])
def test_what_cannot_be_compared_is_an_error(ours, theirs):
    with pytest.raises(ValueError, match="cannot be compared prompt by prompt"):
        win_rate(ours, theirs)


def test_a_summary_is_worth_its_right_facts():
    true = "Lina Roth: mirror (order 9083) is very loud; wants a replacement. Urgency: low."
    assert true_reward(true, true) == 6
    assert true_reward(true.replace("9083", "9084").replace("low", "unknown"), true) == 4
    assert true_reward(" " + true, true) == 6
    assert true_reward("loud mirror", true) == 0
    assert stated(true)["wish"] == "a replacement"
