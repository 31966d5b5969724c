"""RLOO: REINFORCE with the other answers as baseline.

Ahmadian, Cremer, Gallé, Fadaee, Kreutzer, Pietquin, Üstün, Hooker, "Back to Basics" (2024), arXiv:2402.14740,
equation 7; the whole completion is one action.

    R_i  = r_i - kl_coef log (policy / reference)(o_i)
    A_i  = R_i - mean of the others
    loss = max(-A ratio, -A clip(ratio, 1 - clip_range, 1 + clip_range)),    ratio = policy(o_i) / old(o_i)

Unbiased, without a value model: its optimum is reference * exp(r / kl_coef), normalised. With one update per phase the
ratio is 1 and nothing is clipped.

Deviations: the clipped ratio (TRL's), for several updates of a phase.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from accorda.data.prompts.experience import Experience, Sample, with_told
from accorda.objectives.policy import group
from accorda.objectives.policy.aggregation import Step
from accorda.objectives.policy.clipped import clipped, is_clipped
from accorda.objectives.policy.ratio import sequence_ratio
from accorda.recipe.types import NonNegativeFloat, Share
from accorda.rl.advantage import judged, spread, with_kl, within_groups
from accorda.rl.contract import NOWHERE, Memory, PolicyAlgorithm
from accorda.rl.rollout import Group


@dataclass(frozen=True, kw_only=True)
class RLOO(PolicyAlgorithm):
    """Better than the other answers to the same prompt."""

    paper: ClassVar[str] = "arXiv:2402.14740"
    clips: ClassVar[tuple[str, ...]] = ("clip_range",)

    kl_coef: NonNegativeFloat = 0.05
    """What a nat of distance from the reference costs, in units of the reward."""
    clip_range: Share = 0.2
    """How far the ratio of probabilities may go from 1 in the updates of a phase."""

    @property
    def kl_price(self) -> float:
        return self.kl_coef

    @property
    def kl_placement(self) -> str:
        return "in the reward of the whole answer (k1 summed over it)" if self.kl_coef else NOWHERE

    @property
    def loss_aggregation(self) -> str:
        return "every answer weighs the same, as one action"

    def experience(self, groups: Sequence[Group], memory: Memory) -> list[Sample]:
        found = judged(groups)
        advantages = within_groups(with_kl(found, self.kl_coef), group.rloo)
        samples = [one for answers in found for one, _ in answers]
        each = spread(torch.cat(advantages), samples) if samples else []
        return [with_told(one, advantages=value) for one, value in zip(samples, each, strict=True)]

    def policy_loss(self, log_probs: Tensor, batch: Experience, step: Step) -> Tensor:
        ratio = sequence_ratio(log_probs, batch.dense(batch.old_log_probs), batch.mask)
        advantage = batch.dense(batch.advantages)[:, :1]
        return clipped(ratio, advantage, clip_low=self.clip_range, clip_high=self.clip_range).sum() / step.num_sequences

    def clip_share(self, log_probs: Tensor, batch: Experience) -> Tensor:
        ratio = sequence_ratio(log_probs, batch.dense(batch.old_log_probs), batch.mask)
        advantage = batch.dense(batch.advantages)[:, :1]
        return is_clipped(ratio, advantage, clip_low=self.clip_range, clip_high=self.clip_range).expand_as(log_probs)
