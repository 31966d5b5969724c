"""KTO: completions that were liked or not, without pairs.

Ethayarajh, Xu, Muennighoff, Jurafsky, Kiela, "KTO: Model Alignment as Prospect Theoretic Optimization" (2024),
arXiv:2402.01306, equation 7.

    r           = log (policy / reference)(completion)
    z           = max(0, mean of r over prompts with another prompt's completion), no gradient: an estimate of the KL
    desirable:    loss = desirable_weight   (1 - sigmoid(beta (r - z)))
    undesirable:  loss = undesirable_weight (1 - sigmoid(beta (z - r)))

The paper asks for desirable_weight n_desirable / (undesirable_weight n_undesirable) between 1 and 4/3.

Deviations: none.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from accorda.objectives.preference.contract import Algorithm
from accorda.recipe.types import PositiveFloat


@dataclass(frozen=True)
class Labelled:
    """B completions: their summed log-probabilities in nats, (B,) each, and what people said of them."""

    policy: Tensor
    reference: Tensor
    desirable: Tensor
    """True where people liked the completion, (B,)."""


def mismatched(number: int, device: torch.device | str = "cpu") -> Tensor:
    """Whose completion each of so many prompts is given to estimate the KL, (number,): the next row's, in a circle.

    Raises:
        ValueError: fewer than two rows; a row's own completion says nothing about the others.
    """
    if number < 2:
        raise ValueError(f"KTO needs two rows or more at a time to estimate the KL, not {number}")
    return torch.arange(number, device=device).roll(-1)


def reference_point(policy: Tensor, reference: Tensor) -> Tensor:
    """The z of the loss, a scalar without gradient, from summed log-probabilities of mismatched completions, (B,) each.

    Over several devices, gather both first: the maximum is taken of the mean of all.
    """
    return (policy - reference).detach().mean().clamp(min=0)


def kto(
    policy: Tensor,
    reference: Tensor,
    desirable: Tensor,
    reference_point: Tensor,
    *,
    beta: float,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> Tensor:
    """Loss of each completion (B,), between 0 and its weight, from summed log-probabilities and labels, (B,) each."""
    gain = beta * (policy - reference - reference_point)
    liked = desirable.bool()
    weight = torch.where(liked, desirable_weight, undesirable_weight).to(gain.dtype)
    return weight * torch.sigmoid(torch.where(liked, -gain, gain))


@dataclass(frozen=True, kw_only=True)
class KTO(Algorithm):
    """Learn from thumbs up and thumbs down, without pairs."""

    paper: ClassVar[str] = "arXiv:2402.01306"
    needs_reference: ClassVar[bool] = True
    thumbs: ClassVar[bool] = True

    beta: PositiveFloat = 0.1
    """How near to the reference: the larger, the nearer."""
    desirable_weight: PositiveFloat = 1.0
    """Weight of completions that people liked."""
    undesirable_weight: PositiveFloat = 1.0
    """Weight of completions that people did not like."""

    def losses(self, rows: Labelled, reference_point: Tensor) -> Tensor:
        """The loss of each completion, (B,)."""
        return kto(
            rows.policy,
            rows.reference,
            rows.desirable,
            reference_point,
            beta=self.beta,
            desirable_weight=self.desirable_weight,
            undesirable_weight=self.undesirable_weight,
        )

    def rewards(self, rows: Labelled) -> Tensor:
        """What the policy makes of each completion, (B,)."""
        return self.beta * (rows.policy - rows.reference)
