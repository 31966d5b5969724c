"""Losses of a reward model: worked numbers, the formula written again, TRL's, and what must not matter."""

import itertools
import math

import pytest
import torch
from tests.objectives import trl_losses

from accorda.objectives.reward import k_wise, pairwise


def double(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_golden_numbers_of_pairs():
    assert pairwise(double(1.0), double(0.2)).item() == pytest.approx(0.3711006659, abs=1e-9)
    assert pairwise(double(1.0), double(0.2), margin=0.3).item() == pytest.approx(0.4740769842, abs=1e-9)
    assert pairwise(double(1.0), double(0.2), centring=0.01).item() == pytest.approx(0.3711006659 + 0.0144, abs=1e-9)


def test_a_margin_may_be_one_per_pair_and_the_loss_is_trls():
    torch.manual_seed(0)
    chosen, rejected, margin = torch.randn(3, 6, dtype=torch.float64)
    found = pairwise(chosen, rejected, margin=margin, centring=0.02)
    assert found.shape == (6,)
    torch.testing.assert_close(found.mean(), trl_losses.reward(chosen, rejected, margin, 0.02))


def test_golden_number_of_a_ranking():
    assert k_wise(double(2, 1, 0), torch.tensor([0, 1, 2])).item() == pytest.approx(0.2511504620, abs=1e-9)


def naive(rewards: list[float], ranks: list[int]) -> float:
    """Equation 1 as a loop over pairs."""
    losses = [
        math.log(1 + math.exp(rewards[loser] - rewards[winner]))
        for winner, loser in itertools.permutations(range(len(rewards)), 2)
        if ranks[winner] < ranks[loser]
    ]
    return sum(losses) / len(losses)


def test_rankings_with_ties_and_gaps_equal_the_loop():
    torch.manual_seed(1)
    rewards = torch.randn(3, 5, dtype=torch.float64)
    ranks = torch.tensor([[4, 0, 2, 1, 3], [1, 1, 0, 2, 2], [0, 1, 2, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    expected = [naive(rewards[row, : int(mask[row].sum())].tolist(), ranks[row].tolist()) for row in range(3)]
    assert k_wise(rewards, ranks, mask).tolist() == pytest.approx(expected)


def test_two_answers_are_a_pair_also_in_margin_and_centring():
    torch.manual_seed(2)
    rewards, margin = torch.randn(5, 2, dtype=torch.float64), torch.rand(5, dtype=torch.float64)
    ranks = torch.tensor([[0, 1]] * 5)
    found = k_wise(rewards, ranks, margin=margin, centring=0.02)
    torch.testing.assert_close(found, pairwise(rewards[:, 0], rewards[:, 1], margin=margin, centring=0.02))
    padded = torch.cat([rewards, torch.full((5, 1), 9.0)], 1), torch.cat([ranks, ranks[:, :1]], 1)
    mask = torch.tensor([[1, 1, 0]] * 5)
    torch.testing.assert_close(k_wise(*padded, mask, margin=margin, centring=0.02), found)


def test_what_stands_where_no_answer_is_changes_nothing_not_even_a_gradient():
    rewards = torch.tensor([[1.0, 0.0, float("nan")]], requires_grad=True)
    loss = k_wise(rewards, torch.tensor([[0, 1, 2]]), torch.tensor([[True, True, False]]))
    loss.sum().backward()
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-1)))
    assert torch.isfinite(rewards.grad[:, :2]).all()
    assert rewards.grad[0, 2].item() == 0


def test_all_tied_is_zero_with_zero_gradient():
    rewards = torch.randn(4, requires_grad=True)
    loss = k_wise(rewards, torch.zeros(4))
    loss.backward()
    assert loss.item() == 0
    assert rewards.grad.abs().max() == 0


def test_a_ranking_of_two_is_a_pair():
    chosen, rejected = double(0.3, -2.0), double(1.0, -1.0)
    rewards = torch.stack([rejected, chosen], -1)
    torch.testing.assert_close(k_wise(rewards, torch.tensor([1, 0])), pairwise(chosen, rejected))


def test_a_constant_added_to_all_rewards_changes_nothing():
    chosen, rejected = double(0.3, -2.0), double(1.0, -1.0)
    torch.testing.assert_close(pairwise(chosen + 7, rejected + 7), pairwise(chosen, rejected))
    rewards, ranks = torch.stack([chosen, rejected], -1), torch.tensor([0, 1])
    torch.testing.assert_close(k_wise(rewards + 7, ranks), k_wise(rewards, ranks))


def test_large_differences_stay_finite():
    rewards = torch.tensor([1e4, -1e4], requires_grad=True)
    pairwise(rewards[1], rewards[0]).backward()
    assert rewards.grad.tolist() == [1.0, -1.0]
    (ranked,) = torch.autograd.grad(k_wise(rewards, torch.tensor([1, 0])), rewards)
    assert ranked.tolist() == [1.0, -1.0]
