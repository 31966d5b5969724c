"""Estimates of the KL: worked numbers, what they estimate, and, by enumeration, where each one's gradient leads."""

import pytest
import torch

from accorda.objectives.policy.kl import k1, k2, k3


def test_golden_numbers():
    x = torch.tensor(0.3, dtype=torch.float64)
    assert (k1(x).item(), k2(x).item()) == pytest.approx((0.3, 0.045))
    assert k3(x).item() == pytest.approx(0.0408182207, abs=1e-10)


def test_the_same_policy_costs_exactly_nothing():
    for estimate in (k1, k2, k3):
        assert estimate(torch.zeros(3)).tolist() == [0.0] * 3


def distributions(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of a policy over six actions, wanting a gradient, and a reference's log-probabilities."""
    torch.manual_seed(seed)
    logits, reference = torch.randn(2, 6, dtype=torch.float64)
    return logits.requires_grad_(), torch.log_softmax(reference, -1)


def test_k1_and_k3_are_unbiased():
    logits, reference = distributions()
    policy = torch.log_softmax(logits, -1).detach()
    exact = (policy.exp() * (policy - reference)).sum()
    for estimate in (k1, k3):
        torch.testing.assert_close((policy.exp() * estimate(policy - reference)).sum(), exact)


def gradient_as_loss(estimate, logits, reference):
    """Expected gradient of `estimate` on samples of the policy itself, exactly."""
    policy = torch.log_softmax(logits, -1)
    return torch.autograd.grad((policy.exp().detach() * estimate(policy - reference)).sum(), logits)[0]


def test_gradients_of_the_estimates_in_the_loss():
    logits, reference = distributions()
    policy = torch.log_softmax(logits, -1)
    (reverse,) = torch.autograd.grad((policy.exp() * (policy - reference)).sum(), logits, retain_graph=True)
    (forward,) = torch.autograd.grad((reference.exp() * (reference - policy)).sum(), logits)
    torch.testing.assert_close(gradient_as_loss(k1, logits, reference), torch.zeros(6).double())
    torch.testing.assert_close(gradient_as_loss(k2, logits, reference), reverse)
    torch.testing.assert_close(gradient_as_loss(k3, logits, reference), forward)


def test_k1_in_the_reward_has_the_gradient_of_the_kl():
    logits, reference = distributions()
    policy = torch.log_softmax(logits, -1)
    (reverse,) = torch.autograd.grad((policy.exp() * (policy - reference)).sum(), logits, retain_graph=True)
    cost = k1(policy - reference).detach()
    (found,) = torch.autograd.grad((policy.exp().detach() * cost * policy).sum(), logits)
    torch.testing.assert_close(found, reverse)


def test_k3_of_a_sample_that_the_reference_finds_much_likelier_stays_finite_and_pulls_no_more():
    x = torch.tensor([-500.0, -3.0, 500.0], requires_grad=True)
    k3(x).sum().backward()
    assert torch.isfinite(k3(x)).all()
    assert x.grad.tolist() == pytest.approx([0.0, 1 - 2.718281828459045**3, 1.0])
