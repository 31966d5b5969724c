"""Losses of a value model: the worked number, where the clip holds, and what it explains."""

import pytest
import torch

from accorda.objectives.policy.value import clipped_value_loss, explained_variance, value_loss


def test_golden_number():
    found = clipped_value_loss(torch.tensor(1.0), torch.tensor(0.5), torch.tensor(0.9), clip_range=0.2)
    assert found.item() == pytest.approx(0.02)
    assert value_loss(torch.tensor(1.0), torch.tensor(0.9)).item() == pytest.approx(0.005)


def test_a_value_that_moved_towards_its_return_and_far_learns_no_more():
    value = torch.tensor([0.9, 0.6, 0.1], requires_grad=True)
    losses = clipped_value_loss(value, torch.full((3,), 0.5), torch.ones(3))
    (gradient,) = torch.autograd.grad(losses.sum(), value)
    assert losses.tolist() == pytest.approx([0.3**2 / 2, 0.4**2 / 2, 0.9**2 / 2])
    assert gradient.tolist() == pytest.approx([0.0, -0.4, -0.9])


def test_explained_variance():
    return_ = torch.tensor([[1.0, 2.0, 3.0, 99.0]])
    mask = torch.tensor([[1, 1, 1, 0]])
    assert explained_variance(return_, return_, mask).item() == 1
    assert explained_variance(torch.full((1, 4), 7.0), return_, mask).item() == pytest.approx(0)
    half = torch.tensor([[1.5, 2.0, 2.5, -4.0]])
    assert explained_variance(half, return_, mask).item() == pytest.approx(0.75)
