"""IPO on means over tokens: the worked number, and TRL's."""

import pytest
import torch
from tests.objectives import trl_losses
from tests.objectives.preference.pairs import fixture, random_pairs

from accorda.objectives.preference.ipo_average import IPOAverage


def test_golden_number():
    assert IPOAverage(beta=0.1).losses(fixture()).item() == pytest.approx(21.855625)
    chosen, rejected = IPOAverage(beta=0.1).rewards(fixture())
    assert (chosen.item(), rejected.item()) == pytest.approx((0.1 / 5, -0.1 / 8))


def test_the_loss_is_trls():
    pairs = random_pairs()
    theirs, _ = trl_losses.dpo("ipo", pairs, beta=0.3, label_smoothing=0.0)
    torch.testing.assert_close(IPOAverage(beta=0.3).losses(pairs).mean(), theirs)
