"""Hinge: the worked number, where it stops teaching, and TRL's."""

import pytest
import torch
from tests.objectives import trl_losses
from tests.objectives.preference.pairs import fixture, random_pairs

from accorda.objectives.preference.hinge import Hinge, hinge


def test_golden_number():
    assert Hinge(beta=0.1).losses(fixture()).item() == pytest.approx(0.8)


def test_a_pair_that_is_right_by_the_margin_teaches_nothing():
    policy = torch.tensor([9.0, 11.0], requires_grad=True)
    zeros = torch.zeros(2)
    loss = hinge(policy, zeros, zeros, zeros, beta=0.1)
    loss.sum().backward()
    assert loss.tolist() == pytest.approx([0.1, 0.0])
    assert policy.grad.tolist() == pytest.approx([-0.1, 0.0])


def test_rewards_are_beta_times_the_log_ratios():
    chosen, rejected = Hinge(beta=0.1).rewards(fixture())
    assert (chosen.item(), rejected.item()) == pytest.approx((0.1, -0.1))


def test_the_loss_is_trls():
    pairs = random_pairs()
    theirs, _ = trl_losses.dpo("hinge", pairs, beta=0.3, label_smoothing=0.0)
    torch.testing.assert_close(Hinge(beta=0.3).losses(pairs).mean(), theirs)
