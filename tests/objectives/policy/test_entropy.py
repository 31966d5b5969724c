"""Entropy: even odds, certainty, the identity with logsumexp, and tokens that are shut out."""

import math

import pytest
import torch

from accorda.objectives.policy.entropy import entropy


def test_even_odds_and_certainty():
    assert entropy(torch.zeros(2, 3, 8)).tolist() == [[pytest.approx(math.log(8))] * 3] * 2
    assert entropy(torch.tensor([100.0, 0.0, 0.0])).item() == pytest.approx(0, abs=1e-6)


def test_it_is_logsumexp_less_the_mean_logit():
    torch.manual_seed(0)
    logits = torch.randn(4, 9, dtype=torch.float64)
    torch.testing.assert_close(entropy(logits), logits.logsumexp(-1) - (logits.softmax(-1) * logits).sum(-1))


def test_tokens_shut_out_add_nothing_and_keep_the_gradient_finite():
    logits = torch.tensor([1.0, -torch.inf, 0.0], requires_grad=True)
    found = entropy(logits)
    found.backward()
    assert found.item() == pytest.approx(entropy(torch.tensor([1.0, 0.0])).item())
    assert torch.isfinite(logits.grad).all()


def test_half_precision_is_widened():
    assert entropy(torch.zeros(4, dtype=torch.bfloat16)).dtype == torch.float32
