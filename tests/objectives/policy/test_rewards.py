"""Rewards per token: the score on the last sampled token, the KL as a cost on every one."""

import pytest
import torch

from accorda.objectives.policy.rewards import last_token, token_rewards

MASK = torch.tensor([[1, 0, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]])


def test_the_score_is_added_exactly_at_the_last_sampled_token():
    score = torch.tensor([5.0, 6.0, 7.0])
    found = token_rewards(score, torch.zeros(3, 4), MASK, kl_coef=0.5)
    assert found.tolist() == [[5, 0, 0, 0], [0, 0, 6, 0], [0, 0, 0, 7]]


def test_the_kl_costs_on_every_sampled_token_and_nowhere_else():
    kl = torch.tensor([[0.2, 9.0, 9.0, 9.0], [0.1, -0.3, 0.4, 9.0], [0.1, 0.1, 0.1, 0.1]])
    found = token_rewards(torch.tensor([1.0, 1.0, 1.0]), kl, MASK, kl_coef=0.5)
    expected = [[0.9, 0, 0, 0], [-0.05, 0.15, 0.8, 0], [-0.05, -0.05, -0.05, 0.95]]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_padding_changes_nothing_whatever_it_holds():
    score, kl = torch.tensor([1.0, 2.0, 3.0]), torch.randn(3, 4)
    wide_mask = torch.cat([MASK, torch.zeros(3, 5, dtype=torch.long)], 1)
    wide_kl = torch.cat([kl, torch.full((3, 5), float("nan"))], 1)
    wide = token_rewards(score, wide_kl, wide_mask, kl_coef=0.5)
    assert torch.equal(wide[:, :4], token_rewards(score, kl, MASK, kl_coef=0.5))
    assert torch.equal(wide[:, 4:], torch.zeros(3, 5))


def test_the_last_token_is_found_over_holes_and_in_no_empty_row():
    assert last_token(torch.tensor([[1, 0, 0, 1, 0], [0, 0, 0, 0, 0]])).tolist() == [[0, 0, 0, 1, 0], [0, 0, 0, 0, 0]]


def test_rewards_of_a_completion_sum_to_the_score_less_the_price_of_its_kl():
    torch.manual_seed(0)
    kl, score = torch.randn(3, 4), torch.randn(3)
    found = token_rewards(score, kl, MASK, kl_coef=0.3).sum(1)
    assert found.tolist() == pytest.approx((score - 0.3 * (kl * MASK).sum(1)).tolist())
