"""IPO on sums: the worked number, the margin it asks for, and the paper's two actions."""

import pytest
import torch
from tests.objectives.preference.pairs import fixture, random_pairs

from accorda.objectives.preference.ipo import IPO, ipo


def test_golden_number():
    assert IPO(beta=0.1).losses(fixture()).item() == pytest.approx(9.0)


def test_nothing_is_lost_at_the_margin_and_more_is_lost_beyond_it():
    policy = torch.tensor([4.0, 5.0, 6.0], requires_grad=True)
    zeros = torch.zeros(3)
    loss = ipo(policy, zeros, zeros, zeros, beta=0.1)
    loss.sum().backward()
    assert loss.tolist() == pytest.approx([1.0, 0.0, 1.0])
    assert policy.grad.tolist() == pytest.approx([-2.0, 0.0, 2.0])


def test_two_actions_one_always_preferred():
    """Section 5 of the paper: from a uniform reference the policy ends at sigmoid(1 / (2 tau)), not at 1."""
    logit = torch.zeros((), dtype=torch.float64, requires_grad=True)
    half = torch.tensor(0.5, dtype=torch.float64).log()
    for _ in range(60):
        log_probs = torch.log_softmax(torch.stack([logit, -logit]), 0)
        (gradient,) = torch.autograd.grad(ipo(log_probs[0], log_probs[1], half, half, beta=0.5), logit)
        logit = (logit - 0.1 * gradient).detach().requires_grad_()
    assert torch.softmax(torch.stack([logit, -logit]), 0)[0].item() == pytest.approx(1 / (1 + 2.718281828459045**-1))


def test_the_loss_is_the_formula_written_naively_and_rewards_are_log_ratios():
    pairs = random_pairs()
    a, b, c, d = (tensor.detach().tolist() for tensor in pairs.log_probs)
    expected = [(w - f - m + g - 1 / 0.6) ** 2 for w, m, f, g in zip(a, b, c, d, strict=True)]
    assert IPO(beta=0.3).losses(pairs).tolist() == pytest.approx(expected)
    chosen, rejected = IPO(beta=0.3).rewards(pairs)
    assert chosen.tolist() == pytest.approx([0.3 * (w - f) for w, f in zip(a, c, strict=True)])
    assert rejected.tolist() == pytest.approx([0.3 * (m - g) for m, g in zip(b, d, strict=True)])
