"""Entropy and log-probabilities: even odds, certainty, the definitions written out, and tokens that are shut out."""

import math

import pytest
import torch

from accorda.objectives.policy.entropy import log_probs_alone, log_probs_and_entropy


def found(logits, label=0):
    """Of one position."""
    log_prob, entropy = log_probs_and_entropy(torch.as_tensor(logits)[None], torch.tensor([label]))
    return float(log_prob), float(entropy)


def test_even_odds_and_certainty():
    assert found([0.5] * 8, 3) == (pytest.approx(-math.log(8)), pytest.approx(math.log(8)))
    assert found([100.0, 0.0, 0.0]) == (pytest.approx(0, abs=1e-6), pytest.approx(0, abs=1e-6))
    assert found([100.0, 0.0, 0.0], 1)[0] == pytest.approx(-100)


def test_the_definitions():
    torch.manual_seed(0)
    logits, labels = 5 * torch.randn(7, 9, dtype=torch.float64), torch.randint(9, (7,))
    probabilities = logits.softmax(-1)
    log_prob, entropy = log_probs_and_entropy(logits, labels)
    torch.testing.assert_close(log_prob, probabilities[torch.arange(7), labels].log())
    torch.testing.assert_close(entropy, -(probabilities * probabilities.log()).sum(-1))
    assert torch.equal(logits.softmax(-1), probabilities)  # what it was given stays as it is


def test_tokens_shut_out_add_nothing():
    log_prob, entropy = found([1.0, -math.inf, 0.0])
    assert float(log_probs_alone(torch.tensor([[1.0, -math.inf, 0.0]]), torch.tensor([0]))) == log_prob
    assert (log_prob, entropy) == (pytest.approx(found([1.0, 0.0])[0]), pytest.approx(found([1.0, 0.0])[1]))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_is_widened(dtype):
    torch.manual_seed(0)
    logits, labels = (20 * torch.randn(3, 50)).to(dtype), torch.tensor([0, 7, 49])
    assert torch.equal(log_probs_alone(logits, labels), log_probs_and_entropy(logits, labels)[0])
    narrow, exact = log_probs_and_entropy(logits, labels), log_probs_and_entropy(logits.double(), labels)
    for one, other in zip(narrow, exact, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-5)
