"""Robust DPO: without bias under flipped labels, DPO without noise, and TRL's."""

import pytest
import torch
from tests.objectives import trl_losses
from tests.objectives.preference.pairs import fixture, random_pairs, softplus

from accorda.objectives.preference.dpo import DPO, dpo
from accorda.objectives.preference.robust_dpo import RobustDPO, robust_dpo


def test_the_fixture_by_hand():
    expected = (0.9 * softplus(-0.2) - 0.1 * softplus(0.2)) / 0.8
    assert RobustDPO(beta=0.1).losses(fixture()).item() == pytest.approx(expected)


def test_its_mean_over_flipped_labels_is_dpos_loss_of_the_true_ones():
    a, b, c, d = (tensor.detach() for tensor in random_pairs().log_probs)
    settings = {"beta": 0.3, "label_smoothing": 0.2}
    mean = 0.8 * robust_dpo(a, b, c, d, **settings) + 0.2 * robust_dpo(b, a, d, c, **settings)
    torch.testing.assert_close(mean, dpo(a, b, c, d, beta=0.3))
    conservative = 0.8 * dpo(a, b, c, d, **settings) + 0.2 * dpo(b, a, d, c, **settings)
    assert not torch.allclose(conservative, dpo(a, b, c, d, beta=0.3))


def test_without_noise_it_is_dpo():
    pairs = random_pairs()
    torch.testing.assert_close(RobustDPO(label_smoothing=0.0).losses(pairs), DPO().losses(pairs))
    torch.testing.assert_close(RobustDPO().rewards(pairs), DPO().rewards(pairs))


def test_the_loss_is_trls():
    pairs = random_pairs()
    theirs, _ = trl_losses.dpo("robust", pairs, beta=0.3, label_smoothing=0.2)
    torch.testing.assert_close(RobustDPO(beta=0.3, label_smoothing=0.2).losses(pairs).mean(), theirs)
