"""KTO: the worked numbers, its reference point, its weights, and micro-batches of one."""

import pytest
import torch

from accorda.objectives.preference.kto import KTO, Labelled, mismatched, reference_point


def rows(*desirable: bool) -> Labelled:
    """The pair of worked numbers as single completions: log-ratio 1 for each, as it may be."""
    number = len(desirable)
    policy = torch.full((number,), -10.0, dtype=torch.float64, requires_grad=True)
    return Labelled(policy, torch.full((number,), -11.0, dtype=torch.float64), torch.tensor(desirable))


def test_golden_numbers():
    z = torch.tensor(0.2, dtype=torch.float64)
    liked = rows(True)
    assert KTO(beta=0.1).losses(liked, z).item() == pytest.approx(0.4800106598, abs=1e-9)
    rejected = Labelled(torch.tensor([-14.0]).double(), torch.tensor([-13.0]).double(), torch.tensor([False]))
    assert KTO(beta=0.1).losses(rejected, z).item() == pytest.approx(0.4700359482, abs=1e-9)
    assert KTO(beta=0.1).rewards(liked).item() == pytest.approx(0.1)


def test_weights_go_to_their_labels_and_gradients_point_their_ways():
    both = rows(True, False)
    losses = KTO(desirable_weight=3.0, undesirable_weight=5.0).losses(both, torch.tensor(0.2))
    plain = KTO().losses(both, torch.tensor(0.2))
    torch.testing.assert_close(losses, plain * torch.tensor([3.0, 5.0]).double())
    losses.sum().backward()
    assert (both.policy.grad.sign() == torch.tensor([-1, 1])).all()


def test_the_reference_point_is_a_mean_not_below_zero_without_gradient():
    policy = torch.tensor([-3.0, -1.0], requires_grad=True)
    found = reference_point(policy, torch.tensor([-3.5, -2.0]))
    assert found.item() == pytest.approx(0.75)
    assert not found.requires_grad
    assert reference_point(policy, torch.tensor([0.0, 0.0])).item() == 0


def test_every_prompt_is_given_another_ones_completion():
    assert mismatched(4).tolist() == [1, 2, 3, 0]
    with pytest.raises(ValueError, match="two rows or more"):
        mismatched(1)


def test_losses_saturate_between_zero_and_the_weight():
    far = Labelled(torch.tensor([1e5, -1e5]), torch.zeros(2), torch.tensor([True, True]))
    assert KTO(desirable_weight=2.0).losses(far, torch.tensor(0.0)).tolist() == [0.0, 2.0]
