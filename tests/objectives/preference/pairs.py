"""Pairs to try the algorithms of preference on."""

import math

import torch

from accorda.objectives.preference.contract import Pairs


def fixture() -> Pairs:
    """One pair with worked numbers: h = 2, lengths 5 and 8."""
    names = {"policy_chosen": -10, "policy_rejected": -14, "reference_chosen": -11, "reference_rejected": -13}
    lengths = {"chosen_lengths": torch.tensor([5]), "rejected_lengths": torch.tensor([8])}
    return Pairs(**{name: torch.tensor([value], dtype=torch.float64) for name, value in names.items()}, **lengths)


def random_pairs(number: int = 7, seed: int = 0) -> Pairs:
    """Pairs whose policy has moved away from the reference; the policy's log-probabilities want gradients."""
    torch.manual_seed(seed)
    chosen_lengths, rejected_lengths = torch.randint(2, 9, (2, number))
    reference_chosen = -2 * chosen_lengths * torch.rand(number, dtype=torch.float64)
    reference_rejected = -2 * rejected_lengths * torch.rand(number, dtype=torch.float64)
    return Pairs(
        policy_chosen=(reference_chosen * torch.rand(number).double().add(0.5)).requires_grad_(),
        policy_rejected=(reference_rejected * torch.rand(number).double().add(0.5)).requires_grad_(),
        chosen_lengths=chosen_lengths,
        rejected_lengths=rejected_lengths,
        reference_chosen=reference_chosen,
        reference_rejected=reference_rejected,
    )


def softplus(x: float) -> float:
    """-log sigmoid(-x), written out."""
    return math.log(1 + math.exp(x))
