"""The clipped objective: worked numbers, where its gradient stops, REINFORCE at ratio one, and TRL's."""

import pytest
import torch
from tests.objectives import trl_losses

from accorda.objectives.policy.aggregation import Step, dapo
from accorda.objectives.policy.aggregation import grpo as per_sequence
from accorda.objectives.policy.clipped import clipped, dual_clipped, is_clipped
from accorda.objectives.policy.kl import k3
from accorda.objectives.policy.ratio import gspo_ratio, token_ratio

ADVANTAGE = torch.tensor([1.0, 1.0, -1.0, -1.0], dtype=torch.float64)
RATIO = torch.tensor([1.5, 0.5, 1.5, 0.5], dtype=torch.float64)


def test_golden_numbers():
    assert clipped(RATIO, ADVANTAGE).tolist() == pytest.approx([-1.2, -0.5, 1.5, 0.8])


def test_gradients_stop_where_the_loss_says_that_it_is_clipped():
    ratio = RATIO.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(clipped(ratio, ADVANTAGE).sum(), ratio)
    assert gradient.tolist() == [0.0, -1.0, 1.0, 0.0]
    assert is_clipped(RATIO, ADVANTAGE).tolist() == [True, False, False, True]


def test_the_two_bounds_are_apart():
    ratio = torch.tensor([1.3, 0.75, 1.3, 0.75], dtype=torch.float64)
    assert clipped(ratio, ADVANTAGE, clip_high=0.28).tolist() == pytest.approx([-1.28, -0.75, 1.3, 0.8])
    assert clipped(ratio, ADVANTAGE, clip_low=0.3).tolist() == pytest.approx([-1.2, -0.75, 1.3, 0.75])
    assert is_clipped(ratio, ADVANTAGE, clip_high=0.3, clip_low=0.3).tolist() == [False] * 4


def test_dual_clip_bounds_what_was_bad_and_became_likelier():
    ratio = torch.tensor([5.0, 5.0, 2.0, 0.5], dtype=torch.float64)
    advantage = torch.tensor([1.0, -2.0, -2.0, -2.0], dtype=torch.float64)
    assert clipped(ratio, advantage).tolist() == pytest.approx([-1.2, 10, 4, 1.6])
    assert dual_clipped(ratio, advantage).tolist() == pytest.approx([-1.2, 6, 4, 1.6])


def test_at_ratio_one_the_gradient_is_reinforces():
    torch.manual_seed(0)
    log_probs = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    advantage = torch.randn(3, 4, dtype=torch.float64)
    surrogate = clipped(token_ratio(log_probs, log_probs.detach()), advantage).sum()
    reinforce = -(advantage * log_probs).sum()
    torch.testing.assert_close(*(torch.autograd.grad(loss, log_probs)[0] for loss in (surrogate, reinforce)))


def batch() -> tuple[torch.Tensor, dict[str, torch.Tensor], Step]:
    torch.manual_seed(0)
    mask = (torch.arange(6) < torch.tensor([2, 6, 3, 5])[:, None]).double()
    log_probs = -torch.rand(4, 6, dtype=torch.float64).mul(3).requires_grad_()
    old_log_probs = log_probs.detach() + 0.4 * torch.randn(4, 6)
    others = {"mask": mask, "old_log_probs": old_log_probs, "reference": old_log_probs - 0.2}
    others["advantages"] = torch.tensor([1.0, -0.5, 0.3, -2.0], dtype=torch.float64)
    return log_probs, others, Step(num_sequences=4, num_tokens=16, num_micro_batches=1, max_new_tokens=6)


def same(ours: torch.Tensor, theirs: torch.Tensor, log_probs: torch.Tensor) -> None:
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(torch.autograd.grad(ours, log_probs), torch.autograd.grad(theirs, log_probs))


def test_with_k3_in_the_loss_it_is_trls_dapo():
    log_probs, others, step = batch()
    ratio = token_ratio(log_probs, others["old_log_probs"])
    losses = clipped(ratio, others["advantages"][:, None], clip_high=0.28)
    losses = losses + 0.04 * k3(log_probs - others["reference"])
    theirs = trl_losses.grpo("dapo", log_probs, others, epsilon_high=0.28, beta=0.04)
    same((losses * dapo(others["mask"], step)).sum(), theirs, log_probs)


def test_by_the_ratio_of_sequences_it_is_trls_gspo():
    log_probs, others, step = batch()
    ratio = gspo_ratio(log_probs, others["old_log_probs"], others["mask"])
    losses = clipped(ratio, others["advantages"][:, None])
    theirs = trl_losses.grpo("grpo", log_probs, others, importance_sampling_level="sequence")
    same((losses * per_sequence(others["mask"], step)).sum(), theirs, log_probs)
