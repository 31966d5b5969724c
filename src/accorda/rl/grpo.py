"""GRPO: the group of answers to one prompt is the baseline.

Shao et al., "DeepSeekMath" (2024), arXiv:2402.03300, equations 3 and 4; DAPO's bounds and aggregation, Yu et al.
(2025), arXiv:2503.14476; without the division by the spread, Liu et al. (2025), arXiv:2503.20783 (Dr. GRPO).

    A_i  = (r_i - mean) / std                                        `scale_rewards` names the other ways
    loss = max(-A ratio, -A clip(ratio, 1 - clip_low, 1 + clip_high)) + kl_coef kl      per token
    kl   = k3 or k2 of each token, or k2 of the whole completion, which weighs as one of its tokens

With `dual_clip` c the loss is at most -A c where A < 0: Ye et al. (2019), arXiv:1912.09729. With `cispo_bound` b it is

    loss = -min(ratio, b) A log policy(o_t) + kl_coef kl       no gradient through the ratio

CISPO, MiniMax (2025), arXiv:2506.13585: a token whose ratio is out of bounds goes on learning, and weighs b.

How tokens weigh is `aggregation` (see `objectives.policy.aggregation`). A group whose answers are all worth the same
teaches nothing. The mean contains the answer's own reward: the distance from the reference costs G / (G - 1) times
`kl_coef` in effect, and with the division by the spread a price that falls as the policy becomes sure. Only
`scale_rewards: rloo` with `kl_estimator: k2_sequence` and an aggregation by which every token weighs the same has the
optimum reference * exp(r / kl_coef).

Deviations: the aggregation is DAPO's unless told otherwise (`grpo` is the paper's), and the reference plays no part
(`kl_coef` 0; the paper's is 0.04).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Tensor

from accorda.data.prompts.experience import Experience, Sample, with_told
from accorda.objectives.policy import group
from accorda.objectives.policy.aggregation import AGGREGATIONS, WEIGHS, Step
from accorda.objectives.policy.cispo import cispo
from accorda.objectives.policy.clipped import clipped, dual_clipped, is_clipped
from accorda.objectives.policy.kl import k2, k3
from accorda.objectives.policy.ratio import gspo_ratio, token_ratio
from accorda.recipe.types import NonNegativeFloat, PositiveFloat, Share
from accorda.rl.advantage import judged, spread, within_groups
from accorda.rl.contract import NOWHERE, Memory, PolicyAlgorithm, changed
from accorda.rl.rollout import Group
from accorda.rl.settings import RolloutSettings

WAYS = {"group": group.grpo, "none": group.dr_grpo, "rloo": group.rloo}


@dataclass(frozen=True, kw_only=True)
class GRPO(PolicyAlgorithm):
    """Better than the mean of the same prompt's answers."""

    paper: ClassVar[str] = "arXiv:2402.03300"
    clips: ClassVar[tuple[str, ...]] = ("clip_low", "clip_high", "dual_clip", "cispo_bound")

    aggregation: Literal["dapo", "grpo", "dr_grpo", "bnpo"] = "dapo"
    """What a token weighs: the same (dapo), less in a longer answer (grpo), by a constant (dr_grpo, bnpo)."""
    scale_rewards: Literal["group", "batch", "none", "rloo"] = "group"
    """What advantages are divided by: the spread within the group, that of all rewards, nothing; rloo: unbiased."""
    ratio: Literal["token", "sequence"] = "token"
    """Of each token, or their geometric mean over the answer (GSPO)."""
    clip_low: Share = 0.2
    """How far below 1 the ratio may go in the updates of a phase."""
    clip_high: NonNegativeFloat = 0.2
    """How far above 1; 0.28 is DAPO's."""
    dual_clip: PositiveFloat | None = None
    """The ratio beyond which what was bad pulls no harder, above 1, often 3; null: no such bound."""
    cispo_bound: PositiveFloat | None = None
    """CISPO in place of clipping: the ratio is a weight, at most this, often 5, and nothing stops learning."""
    kl_coef: NonNegativeFloat = 0.0
    """The weight of the distance from the reference in the loss."""
    kl_estimator: Literal["k3", "k2", "k2_sequence"] = "k3"
    """How it is estimated; k1 has no gradient in a loss."""

    def misfit(self, rollout: RolloutSettings) -> str | None:
        if not self.kl_coef and "kl_estimator" in changed(self):
            return (
                f"algorithm.kl_estimator = {self.kl_estimator}: the distance from the reference plays no part with "
                "algorithm.kl_coef = 0; raise that, or leave the estimator out"
            )
        idle = [name for name in self.clips if name in changed(self) - {"cispo_bound"}]
        if self.cispo_bound is not None and idle:
            return (
                f"algorithm.{idle[0]} = {getattr(self, idle[0])}: with algorithm.cispo_bound the ratio is a weight "
                "and nothing is clipped; leave one of both out"
            )
        if self.dual_clip is not None and self.dual_clip <= 1:
            return (
                f"algorithm.dual_clip = {self.dual_clip}: a bound of 1 or less would keep the policy from learning of "
                "bad answers at all; 3 is usual"
            )
        return super().misfit(rollout)

    @property
    def kl_price(self) -> float:
        return self.kl_coef

    @property
    def kl_placement(self) -> str:
        if not self.kl_coef:
            return NOWHERE
        of = {"k3": "k3 of every token", "k2": "k2 of every token", "k2_sequence": "k2 of the whole answer"}
        return f"in the loss ({of[self.kl_estimator]})"

    @property
    def loss_aggregation(self) -> str:
        return WEIGHS[self.aggregation]

    def experience(self, groups: Sequence[Group], memory: Memory) -> list[Sample]:
        found = judged(groups)
        rewards = [torch.tensor([reward for _, reward in answers]) for answers in found]
        samples = [one for answers in found for one, _ in answers]
        if not samples:
            return []
        std = torch.cat(rewards).std(correction=min(1, len(samples) - 1))
        way = WAYS.get(self.scale_rewards, partial(group.grpo_batch, std=std))
        each = spread(torch.cat(within_groups(rewards, way)), samples)
        return [with_told(one, advantages=value) for one, value in zip(samples, each, strict=True)]

    def policy_loss(self, log_probs: Tensor, batch: Experience, step: Step) -> Tensor:
        losses = self._losses(log_probs, batch)
        weights = AGGREGATIONS[self.aggregation](batch.mask, step)
        loss = (losses * weights).sum()
        if not self.kl_coef:
            return loss
        apart = log_probs - batch.dense(batch.reference_log_probs)
        if self.kl_estimator == "k2_sequence":
            return loss + self.kl_coef * (k2(apart.sum(-1, keepdim=True)) * weights[:, :1]).sum()
        return loss + self.kl_coef * ((k3 if self.kl_estimator == "k3" else k2)(apart) * weights).sum()

    def _losses(self, log_probs: Tensor, batch: Experience) -> Tensor:
        """Of each token, (B, T), or of each answer, (B, 1)."""
        moved, bounds = self._moved(log_probs, batch), {"clip_low": self.clip_low, "clip_high": self.clip_high}
        if self.cispo_bound is not None:
            return cispo(log_probs, *moved, ratio_bound=self.cispo_bound)
        if self.dual_clip is not None:
            return dual_clipped(*moved, **bounds, bound=self.dual_clip)
        return clipped(*moved, **bounds)

    def clip_share(self, log_probs: Tensor, batch: Experience) -> Tensor | None:
        if self.cispo_bound is not None:
            return None
        bound = math.inf if self.dual_clip is None else self.dual_clip
        moved = self._moved(log_probs, batch)
        found = is_clipped(*moved, clip_low=self.clip_low, clip_high=self.clip_high, bound=bound)
        return found.expand_as(log_probs)

    def _moved(self, log_probs: Tensor, batch: Experience) -> tuple[Tensor, Tensor]:
        old, advantages = batch.dense(batch.old_log_probs), batch.dense(batch.advantages)
        if self.ratio == "token":
            return token_ratio(log_probs, old), advantages
        return gspo_ratio(log_probs, old, batch.mask), advantages
