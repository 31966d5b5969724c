"""Advantages within a group: worked numbers, who is left out, and what must not matter."""

import pytest
import torch

from accorda.objectives.policy.group import dr_grpo, grpo, grpo_batch, rloo

REWARDS = torch.tensor([[1.0, 0.0, 0.0, 1.0]], dtype=torch.float64)
SIGNS = [1, -1, -1, 1]


def test_golden_numbers():
    assert grpo(REWARDS)[0].tolist() == pytest.approx([0.8658754298 * sign for sign in SIGNS], abs=1e-9)
    assert dr_grpo(REWARDS)[0].tolist() == pytest.approx([0.5 * sign for sign in SIGNS])
    assert rloo(REWARDS)[0].tolist() == pytest.approx([2 / 3 * sign for sign in SIGNS])


def test_leave_one_out_leaves_one_out():
    torch.manual_seed(0)
    rewards = torch.randn(3, 5, dtype=torch.float64)
    expected = [[r - (sum(row) - r) / 4 for r in row] for row in rewards.tolist()]
    torch.testing.assert_close(rloo(rewards), torch.tensor(expected, dtype=torch.float64))


def test_the_batchs_spread_scales_every_group_alike():
    rewards = torch.tensor([[0.0, 1.0], [0.0, 10.0]], dtype=torch.float64)
    expected = torch.tensor([[-0.5, 0.5], [-5.0, 5.0]]).double() / (rewards.flatten().std() + 1e-4)
    torch.testing.assert_close(grpo_batch(rewards), expected)


@pytest.mark.parametrize("way", [grpo, grpo_batch, dr_grpo, rloo])
def test_what_holds_for_all(way):
    torch.manual_seed(0)
    rewards = torch.randn(3, 4, dtype=torch.float64)
    advantages, order = way(rewards), torch.randperm(4)
    torch.testing.assert_close(advantages.sum(1), torch.zeros(3).double())
    torch.testing.assert_close(way(rewards[:, order]), advantages[:, order])
    torch.testing.assert_close(way(rewards + 7), advantages)


@pytest.mark.parametrize("way", [grpo, dr_grpo, rloo])
def test_groups_are_apart(way):
    rewards = torch.tensor([[0.0, 1.0, 5.0], [2.0, -9.0, 3.0]], dtype=torch.float64)
    shifted = rewards + torch.tensor([[3.0], [-8.0]])
    torch.testing.assert_close(way(shifted), torch.cat([way(rewards[:1]), way(rewards[1:])]))


@pytest.mark.parametrize("way", [grpo, grpo_batch, dr_grpo, rloo])
@pytest.mark.parametrize("reward", [0.1, 1 / 3, -123.4])
def test_equal_rewards_give_exactly_zero(way, reward):
    """Not a rounding error, which grpo would divide by 1e-4."""
    assert (way(torch.full((2, 7), reward)) == 0).all()


@pytest.mark.parametrize("way", [grpo, grpo_batch, dr_grpo, rloo])
def test_groups_of_one_are_refused(way):
    with pytest.raises(ValueError, match="two generations or more, not 1"):
        way(torch.zeros(3, 1))
