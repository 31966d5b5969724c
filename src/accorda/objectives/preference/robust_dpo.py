"""Robust DPO: DPO without the bias of flipped labels.

Chowdhury, Kini, Natarajan, "Provably Robust DPO" (2024), arXiv:2403.00409, section 3.1.

    loss = (-(1 - s) log sigmoid(beta h) + s log sigmoid(-beta h)) / (1 - 2 s)

with DPO's h. If a share s of the labels is flipped at random, the mean of this loss over the flips is DPO's loss of the
true labels; conservative DPO's is not. A single pair's loss may be negative.

Deviations: none.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import logsigmoid

from accorda.objectives.preference.contract import Flipped, PairAlgorithm, Pairs, implied_rewards, log_ratios
from accorda.recipe.types import PositiveFloat


def robust_dpo(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    reference_chosen: Tensor,
    reference_rejected: Tensor,
    *,
    beta: float,
    label_smoothing: float,
) -> Tensor:
    """Loss of each pair (N,) in nats from summed log-probabilities, (N,) each; `label_smoothing` is below a half."""
    chosen, rejected = log_ratios(policy_chosen, policy_rejected, reference_chosen, reference_rejected)
    h, s = chosen - rejected, label_smoothing
    return (-(1 - s) * logsigmoid(beta * h) + s * logsigmoid(-beta * h)) / (1 - 2 * s)


@dataclass(frozen=True, kw_only=True)
class RobustDPO(PairAlgorithm):
    """DPO without the bias that labels flipped at random give it."""

    paper: ClassVar[str] = "arXiv:2403.00409"
    needs_reference: ClassVar[bool] = True

    beta: PositiveFloat = 0.1
    """How near to the reference: the larger, the nearer."""
    label_smoothing: Flipped = 0.1
    """Share of labels that are flipped."""

    def losses(self, pairs: Pairs) -> Tensor:
        return robust_dpo(*pairs.log_probs, beta=self.beta, label_smoothing=self.label_smoothing)

    def rewards(self, pairs: Pairs) -> tuple[Tensor, Tensor]:
        return implied_rewards(pairs.log_probs, self.beta)
