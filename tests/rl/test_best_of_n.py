"""Best of n against its known distribution, by sampling and by sums."""

import numpy as np
import pytest

from accorda.rl.best_of_n import best, most_kl, probabilities
from accorda.rl.rollout import Answer, Group

POLICY, REWARDS = [0.1, 0.4, 0.2, 0.3], [0.5, -1.0, 2.0, 1.0]


def answer(reward):
    return Answer(None, None, reward)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_chosen_answers_are_distributed_as_they_must_be(n):
    """20,000 groups; chi squared, three degrees of freedom, one in ten thousand."""
    drawn = np.random.default_rng(n).choice(4, (20_000, n), p=POLICY)
    chosen = [best(Group(None, [answer(REWARDS[each]) for each in group])).reward for group in drawn]
    expected = 20_000 * probabilities(POLICY, REWARDS, n)
    counts = np.array([chosen.count(reward) for reward in REWARDS])
    assert ((counts - expected) ** 2 / expected).sum() < 21.1


def test_more_answers_are_worth_more_and_never_further_than_the_bound():
    found = [probabilities(POLICY, REWARDS, n) for n in (1, 2, 4, 8, 64)]
    assert found[0] == pytest.approx(POLICY)
    worth = [float(each @ np.array(REWARDS)) for each in found]
    assert worth == sorted(worth)
    for each, n in zip(found, (1, 2, 4, 8, 64), strict=True):
        assert each.sum() == pytest.approx(1)
        assert (each * np.log(each / np.array(POLICY) + 1e-300)).sum() <= most_kl(n) + 1e-12


def test_what_could_not_be_judged_is_not_chosen_and_the_first_of_equals_is():
    one, other = answer(1.0), answer(1.0)
    assert best(Group(None, [answer(None), one, other])) is one
    assert best(Group(None, [answer(None)])) is None
