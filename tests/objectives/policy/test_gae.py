"""Advantages: worked numbers, the sum of the paper's definition, and what stands off the mask."""

import pytest
import torch

from accorda.objectives.policy.gae import gae


def one(*values: float) -> torch.Tensor:
    return torch.tensor([values], dtype=torch.float64)


@pytest.mark.parametrize(
    ("gae_lambda", "advantages", "returns"),
    [
        (1.0, [0.5, 0.6, 0.7], [1, 1, 1]),
        (0.95, [0.43675, 0.565, 0.7], [0.93675, 0.965, 1]),
        (0.0, [-0.1, -0.1, 0.7], [0.4, 0.3, 1]),
    ],
)
def test_golden_numbers(gae_lambda, advantages, returns):
    found = gae(one(0, 0, 1), one(0.5, 0.4, 0.3), torch.ones(1, 3), gae_lambda=gae_lambda)
    assert found[0][0].tolist() == pytest.approx(advantages)
    assert found[1][0].tolist() == pytest.approx(returns)


def test_it_is_the_discounted_sum_of_temporal_differences():
    torch.manual_seed(0)
    rewards, values = torch.randn(2, 1, 6, dtype=torch.float64)
    found, _ = gae(rewards, values, torch.ones(1, 6), discount=0.9, gae_lambda=0.7)
    r, v = rewards[0].tolist(), [*values[0].tolist(), 0.0]
    deltas = [r[t] + 0.9 * v[t + 1] - v[t] for t in range(6)]
    expected = [sum((0.9 * 0.7) ** k * deltas[t + k] for k in range(6 - t)) for t in range(6)]
    assert found[0].tolist() == pytest.approx(expected)


def test_values_after_the_end_neither_bootstrap_nor_propagate():
    mask = torch.tensor([[1, 1, 1, 0, 0]])
    rewards, values = one(0, 0, 1, float("nan"), 8), one(0.5, 0.4, 0.3, 7, float("nan"))
    advantages, returns = gae(rewards, values, mask)
    assert advantages[0].tolist() == pytest.approx([0.43675, 0.565, 0.7, 0, 0])
    assert returns[0].tolist() == pytest.approx([0.93675, 0.965, 1, 0, 0])


def test_credit_passes_over_tokens_that_were_not_sampled():
    mask = torch.tensor([[1, 1, 0, 0, 1]])
    advantages, returns = gae(one(0, 0, 5, 5, 1), one(0.5, 0.4, 9, 9, 0.3), mask)
    assert advantages[0].tolist() == pytest.approx([0.43675, 0.565, 0, 0, 0.7])
    assert returns[0].tolist() == pytest.approx([0.93675, 0.965, 0, 0, 1])


def test_rows_are_apart():
    torch.manual_seed(0)
    rewards, values = torch.randn(2, 3, 4)
    mask = torch.tensor([[1, 1, 1, 1], [1, 0, 0, 0], [1, 1, 1, 0]])
    whole, _ = gae(rewards, values, mask)
    alone = torch.cat([gae(rewards[b : b + 1], values[b : b + 1], mask[b : b + 1])[0] for b in range(3)])
    assert torch.equal(whole, alone)
