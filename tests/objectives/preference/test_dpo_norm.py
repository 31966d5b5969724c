"""DPO on means over tokens: the formula, its first step, TRL, and that length alone gains nothing."""

import math
from dataclasses import replace

import pytest
import torch
from tests.objectives import trl_losses
from tests.objectives.preference.pairs import fixture, random_pairs, softplus

from accorda.objectives.preference.dpo import DPO
from accorda.objectives.preference.dpo_norm import DPONorm


def test_the_fixture_by_hand():
    h = 1 / 5 - (-1 / 8)
    assert DPONorm(beta=2.0).losses(fixture()).item() == pytest.approx(softplus(-2 * h))
    chosen, rejected = DPONorm(beta=2.0).rewards(fixture())
    assert (chosen.item(), rejected.item()) == pytest.approx((2 / 5, -2 / 8))


def test_at_the_first_step_the_loss_is_log_two():
    pairs = random_pairs()
    start = replace(pairs, policy_chosen=pairs.reference_chosen, policy_rejected=pairs.reference_rejected)
    assert DPONorm().losses(start).tolist() == [math.log(2)] * 7


def test_completions_said_twice_over_are_worth_the_same():
    once = random_pairs()
    twice = replace(once, **{name: 2 * getattr(once, name) for name in vars(once)})
    torch.testing.assert_close(DPONorm().losses(twice), DPONorm().losses(once))
    assert not torch.allclose(DPO().losses(twice), DPO().losses(once))


def test_the_loss_is_trls():
    pairs = random_pairs()
    theirs, _ = trl_losses.dpo("sigmoid_norm", pairs, beta=5.0, label_smoothing=0.0)
    torch.testing.assert_close(DPONorm().losses(pairs).mean(), theirs)
