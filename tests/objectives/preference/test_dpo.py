"""DPO: worked numbers, its first step, its gradient from the paper, its symmetry, and TRL."""

import math
from dataclasses import replace

import pytest
import torch
from tests.objectives import trl_losses
from tests.objectives.preference.pairs import fixture, random_pairs, softplus

from accorda.objectives.preference.dpo import DPO, dpo


def test_golden_numbers():
    assert DPO(beta=0.1).losses(fixture()).item() == pytest.approx(0.5981388694, abs=1e-9)
    assert DPO(beta=0.1, label_smoothing=0.1).losses(fixture()).item() == pytest.approx(0.6181388694, abs=1e-9)


def test_at_the_first_step_the_loss_is_log_two_and_the_margin_zero():
    pairs = random_pairs()
    start = replace(pairs, policy_chosen=pairs.reference_chosen, policy_rejected=pairs.reference_rejected)
    assert DPO().losses(start).tolist() == [math.log(2)] * 7
    chosen, rejected = DPO().rewards(start)
    assert (chosen - rejected).tolist() == [0.0] * 7


def test_the_loss_is_the_formula_written_naively():
    pairs = random_pairs()
    four = [tensor.detach() for tensor in pairs.log_probs]
    for loss, policy_w, policy_l, reference_w, reference_l in zip(
        dpo(*four, beta=0.3, label_smoothing=0.2), *four, strict=True
    ):
        h = float(policy_w - reference_w - policy_l + reference_l)
        assert loss.item() == pytest.approx(0.8 * softplus(-0.3 * h) + 0.2 * softplus(0.3 * h))


def test_the_gradient_is_the_papers():
    """Section 4: beta sigmoid(rejected's reward - chosen's), down for chosen, up for rejected."""
    pairs, algorithm = random_pairs(), DPO(beta=0.3)
    algorithm.losses(pairs).sum().backward()
    chosen, rejected = algorithm.rewards(pairs)
    expected = 0.3 * torch.sigmoid(rejected - chosen).detach()
    torch.testing.assert_close(pairs.policy_chosen.grad, -expected)
    torch.testing.assert_close(pairs.policy_rejected.grad, expected)


def test_swapping_chosen_and_rejected_mirrors_the_margin():
    a, b, c, d = (tensor.detach() for tensor in random_pairs().log_probs)
    h = a - c - b + d
    swapped = dpo(b, a, d, c, beta=0.3)
    torch.testing.assert_close(swapped, torch.nn.functional.softplus(0.3 * h))
    torch.testing.assert_close(swapped, dpo(a, b, c, d, beta=0.3) + 0.3 * h)


@pytest.mark.parametrize("h", [-1e5, 1e5])
def test_pairs_far_apart_stay_finite(h):
    policy = torch.tensor([h], requires_grad=True)
    loss = dpo(policy, torch.zeros(1), torch.zeros(1), torch.zeros(1), beta=0.1)
    loss.sum().backward()
    assert loss.item() == pytest.approx(max(0.0, -0.1 * h))
    assert policy.grad.item() == pytest.approx(-0.1 if h < 0 else 0.0)


def test_loss_gradient_and_logged_rewards_are_trls():
    pairs, algorithm = random_pairs(), DPO(beta=0.3)
    theirs, logged = trl_losses.dpo("sigmoid", pairs, beta=0.3, label_smoothing=0.0)
    ours = algorithm.losses(pairs).mean()
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(
        torch.autograd.grad(ours, pairs.policy_chosen), torch.autograd.grad(theirs, pairs.policy_chosen)
    )
    assert logged["rewards/chosen"] == pytest.approx([algorithm.rewards(pairs)[0].mean().item()])
    assert logged["rewards/rejected"] == pytest.approx([algorithm.rewards(pairs)[1].mean().item()])


def test_pairs_without_a_reference_are_refused():
    with pytest.raises(ValueError, match="no log-probabilities of a reference"):
        DPO().losses(replace(random_pairs(), reference_rejected=None))
