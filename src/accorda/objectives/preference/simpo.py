"""SimPO: preferences by mean log-probability.

Meng, Xia, Chen, "SimPO: Simple Preference Optimization with a Reference-Free Reward" (2024), arXiv:2405.14734,
equation 6.

    loss = -log sigmoid(beta (log policy(chosen) / |chosen| - log policy(rejected) / |rejected|) - gamma)

with gamma = gamma_beta_ratio * beta. No reference: what generation ranks by, the mean log-probability, is the reward.

Deviations: none.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import logsigmoid

from accorda.objectives.preference.contract import PairAlgorithm, Pairs
from accorda.recipe.types import NonNegativeFloat, PositiveFloat


def simpo(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    chosen_lengths: Tensor,
    rejected_lengths: Tensor,
    *,
    beta: float,
    gamma_beta_ratio: float,
) -> Tensor:
    """Loss of each pair (N,) in nats from summed log-probabilities and numbers of tokens, (N,) each."""
    means = policy_chosen / chosen_lengths - policy_rejected / rejected_lengths
    return -logsigmoid(beta * (means - gamma_beta_ratio))


@dataclass(frozen=True, kw_only=True)
class SimPO(PairAlgorithm):
    """Prefer by mean log-probability, by a margin, without a reference."""

    paper: ClassVar[str] = "arXiv:2405.14734"
    needs_reference: ClassVar[bool] = False

    beta: PositiveFloat = 2.0
    """Scale of the reward, 2 to 10."""
    gamma_beta_ratio: NonNegativeFloat = 0.5
    """The margin to reach in nats per token: the paper's gamma over beta."""

    def losses(self, pairs: Pairs) -> Tensor:
        return simpo(
            pairs.policy_chosen,
            pairs.policy_rejected,
            pairs.chosen_lengths,
            pairs.rejected_lengths,
            beta=self.beta,
            gamma_beta_ratio=self.gamma_beta_ratio,
        )

    def rewards(self, pairs: Pairs) -> tuple[Tensor, Tensor]:
        chosen, rejected = pairs.policy_per_token
        return self.beta * chosen, self.beta * rejected
