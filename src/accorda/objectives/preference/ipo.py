"""IPO: preferences by a set margin.

Gheshlaghi Azar and others, "A General Theoretical Paradigm to Understand Learning from Human Preferences" (2023),
arXiv:2310.12036, equation 17.

    loss = (h - 1 / (2 beta))^2

with DPO's h, on sums over tokens; the paper's tau is `beta`. The margin has a target, so labels without noise do not
drive the policy away from the reference for ever, as DPO's do. For pairs drawn from the reference the optimum is
reference * exp(E[p(y preferred to y')] / beta), y' drawn from the reference, normalised.

Deviations: none. `ipo_average` is the same on means over tokens; its beta is in another unit.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from accorda.objectives.preference.contract import PairAlgorithm, Pairs, implied_rewards, log_ratios
from accorda.recipe.types import PositiveFloat


def ipo(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    reference_chosen: Tensor,
    reference_rejected: Tensor,
    *,
    beta: float,
) -> Tensor:
    """Loss of each pair (N,) in squared nats from log-probabilities, (N,) each: summed, or means over tokens."""
    chosen, rejected = log_ratios(policy_chosen, policy_rejected, reference_chosen, reference_rejected)
    return (chosen - rejected - 1 / (2 * beta)).square()


@dataclass(frozen=True, kw_only=True)
class IPO(PairAlgorithm):
    """Prefer as people did by a set margin, also where labels have no noise."""

    paper: ClassVar[str] = "arXiv:2310.12036"
    needs_reference: ClassVar[bool] = True

    beta: PositiveFloat = 0.1
    """How near to the reference: the margin's target is 1 / (2 beta) nats."""

    def losses(self, pairs: Pairs) -> Tensor:
        return ipo(*pairs.log_probs, beta=self.beta)

    def rewards(self, pairs: Pairs) -> tuple[Tensor, Tensor]:
        return implied_rewards(pairs.log_probs, self.beta)
