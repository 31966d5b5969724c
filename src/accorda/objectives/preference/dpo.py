"""DPO: preferences as the policy's own reward.

Rafailov, Sharma, Mitchell, Ermon, Manning, Finn, "Direct Preference Optimization" (2023), arXiv:2305.18290, equation 7.

    h    = log (policy / reference)(chosen) - log (policy / reference)(rejected)
    loss = -(1 - s) log sigmoid(beta h) - s log sigmoid(-beta h)

s is the share of labels taken to be flipped (Mitchell: A note on DPO with noisy preferences, 2023, "conservative DPO");
s = 0 is the paper's loss. Where policy and reference are one, the loss is log 2.
For labels of Bradley and Terry with reward r the optimum is reference * exp(r / beta), normalised.

Deviations: none.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import logsigmoid

from accorda.objectives.preference.contract import Flipped, PairAlgorithm, Pairs, implied_rewards, log_ratios
from accorda.recipe.types import PositiveFloat


def dpo(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    reference_chosen: Tensor,
    reference_rejected: Tensor,
    *,
    beta: float,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Loss of each pair (N,) in nats from summed log-probabilities, (N,) each."""
    chosen, rejected = log_ratios(policy_chosen, policy_rejected, reference_chosen, reference_rejected)
    h = chosen - rejected
    return -(1 - label_smoothing) * logsigmoid(beta * h) - label_smoothing * logsigmoid(-beta * h)


@dataclass(frozen=True, kw_only=True)
class DPO(PairAlgorithm):
    """Prefer as people did, and stay near the reference."""

    paper: ClassVar[str] = "arXiv:2305.18290"
    needs_reference: ClassVar[bool] = True

    beta: PositiveFloat = 0.1
    """How near to the reference: the larger, the nearer."""
    label_smoothing: Flipped = 0.0
    """Share of labels taken to be flipped (conservative DPO)."""

    def losses(self, pairs: Pairs) -> Tensor:
        return dpo(*pairs.log_probs, beta=self.beta, label_smoothing=self.label_smoothing)

    def rewards(self, pairs: Pairs) -> tuple[Tensor, Tensor]:
        return implied_rewards(pairs.log_probs, self.beta)
