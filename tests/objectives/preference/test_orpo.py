"""ORPO: the worked numbers, the odds written naively, certainty, and TRL's odds ratio."""

import math
from dataclasses import replace

import pytest
import torch
from tests.objectives import trl_losses
from tests.objectives.preference.pairs import fixture, random_pairs

from accorda.objectives.preference.orpo import ORPO, log_odds


def test_golden_numbers():
    chosen, rejected = ORPO().rewards(fixture())
    assert (chosen - rejected).item() == pytest.approx(-0.2954734088, abs=1e-9)
    assert ORPO(odds_ratio_coef=0.1).losses(fixture()).item() == pytest.approx(2.0851757483, abs=1e-9)


@pytest.mark.parametrize("p", [1e-12, 0.1, 0.5, 0.9, 1 - 1e-9])
def test_log_odds_are_those_of_the_probability(p):
    found = log_odds(torch.tensor(p, dtype=torch.float64).log())
    assert found.item() == pytest.approx(math.log(p / (1 - p)), rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("log_prob", [0.0, -1e-9, -200.0])
def test_certainty_and_impossibility_keep_finite_gradients(log_prob):
    x = torch.tensor([log_prob], requires_grad=True)
    torch.nn.functional.logsigmoid(log_odds(x) - 1).sum().backward()
    assert torch.isfinite(x.grad).all()


def test_it_asks_for_no_reference():
    pairs = random_pairs()
    without = replace(pairs, reference_chosen=None, reference_rejected=None)
    torch.testing.assert_close(ORPO().losses(without), ORPO().losses(pairs))


def test_likelihood_and_trls_odds_ratio():
    pairs = random_pairs()
    means = pairs.policy_chosen / pairs.chosen_lengths, pairs.policy_rejected / pairs.rejected_lengths
    theirs = -means[0] - trl_losses.orpo(means, beta=0.2).double()
    torch.testing.assert_close(ORPO(odds_ratio_coef=0.2).losses(pairs), theirs, rtol=1e-6, atol=1e-6)
