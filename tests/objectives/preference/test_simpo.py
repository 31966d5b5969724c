"""SimPO: the worked number, no reference, and TRL's."""

from dataclasses import replace

import pytest
import torch
from tests.objectives import trl_losses
from tests.objectives.preference.pairs import fixture, random_pairs

from accorda.objectives.preference.simpo import SimPO


def test_golden_number():
    assert SimPO(beta=2.0, gamma_beta_ratio=0.5).losses(fixture()).item() == pytest.approx(1.7014132780, abs=1e-9)
    chosen, rejected = SimPO(beta=2.0).rewards(fixture())
    assert (chosen.item(), rejected.item()) == pytest.approx((-4.0, -3.5))


def test_it_asks_for_no_reference():
    pairs = random_pairs()
    without = replace(pairs, reference_chosen=None, reference_rejected=None)
    torch.testing.assert_close(SimPO().losses(without), SimPO().losses(pairs))


def test_the_loss_is_trls():
    pairs = random_pairs()
    means = pairs.policy_chosen / pairs.chosen_lengths, pairs.policy_rejected / pairs.rejected_lengths
    theirs = trl_losses.simpo(means, beta=2.5, gamma=1.5)
    torch.testing.assert_close(SimPO(beta=2.5, gamma_beta_ratio=0.6).losses(pairs), theirs)
