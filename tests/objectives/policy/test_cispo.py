"""CISPO: the weight is clipped, the gradient is not, and TRL's."""

import pytest
import torch
from tests.objectives import trl_losses
from tests.objectives.policy.test_clipped import batch, same

from accorda.objectives.policy.aggregation import dapo
from accorda.objectives.policy.cispo import cispo
from accorda.objectives.policy.ratio import token_ratio


def test_a_token_out_of_bounds_goes_on_learning_at_the_bound():
    log_probs = torch.tensor([-1.0, -1.0], requires_grad=True)
    losses = cispo(log_probs, torch.tensor([2.0, 9.0]), torch.tensor([1.0, -1.0]), ratio_bound=5.0)
    assert losses.tolist() == pytest.approx([2.0, -5.0])
    assert torch.autograd.grad(losses.sum(), log_probs)[0].tolist() == pytest.approx([-2.0, 5.0])


def test_no_gradient_goes_through_the_ratio():
    log_probs = torch.tensor([-1.0], requires_grad=True)
    losses = cispo(log_probs, token_ratio(log_probs, torch.tensor([-1.5])), torch.tensor([1.0]))
    assert torch.autograd.grad(losses.sum(), log_probs)[0].item() == pytest.approx(-(2.718281828459045**0.5))


def test_the_loss_is_trls():
    log_probs, others, step = batch()
    losses = cispo(
        log_probs, token_ratio(log_probs, others["old_log_probs"]), others["advantages"][:, None], ratio_bound=1.2
    )
    theirs = trl_losses.grpo("cispo", log_probs, others, epsilon_high=1.2)
    same((losses * dapo(others["mask"], step)).sum(), theirs, log_probs)
