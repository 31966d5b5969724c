"""Hinge: every pair right by a margin.

Liu, Zhao, Joshi, Khalman, Saleh, Liu, Liu, "Statistical Rejection Sampling Improves Preference Optimization" (2023),
arXiv:2309.06657, the loss "hinge-norm".

    loss = max(0, 1 - beta h)

with DPO's h: DPO is to this what logistic regression is to a support vector machine. A pair that is right by 1 / beta
or more teaches nothing any more.

Deviations: the pairs are those of the data, none is drawn by rejection sampling. The paper's gamma is `beta`.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, relu

from accorda.objectives.preference.contract import PairAlgorithm, Pairs, implied_rewards, log_ratios
from accorda.recipe.types import PositiveFloat


def hinge(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    reference_chosen: Tensor,
    reference_rejected: Tensor,
    *,
    beta: float,
) -> Tensor:
    """Loss of each pair (N,) from summed log-probabilities, (N,) each."""
    chosen, rejected = log_ratios(policy_chosen, policy_rejected, reference_chosen, reference_rejected)
    return relu(1 - beta * (chosen - rejected))


@dataclass(frozen=True, kw_only=True)
class Hinge(PairAlgorithm):
    """Get every pair right by a margin, and leave it then."""

    paper: ClassVar[str] = "arXiv:2309.06657"
    needs_reference: ClassVar[bool] = True

    beta: PositiveFloat = 0.1
    """One over the margin, in nats, at which a pair is left alone."""

    def losses(self, pairs: Pairs) -> Tensor:
        return hinge(*pairs.log_probs, beta=self.beta)

    def rewards(self, pairs: Pairs) -> tuple[Tensor, Tensor]:
        return implied_rewards(pairs.log_probs, self.beta)
