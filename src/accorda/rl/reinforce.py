"""REINFORCE with the batch as baseline (REINFORCE++).

Williams (1992); Hu, "REINFORCE++" (2025), arXiv:2501.03262, sections 3.1 and 3.2, without a value model:

    R_t  = r - kl_coef sum over t' >= t of k1_t'           the return from token t on
    A_t  = (R_t - mean) / std                              over all sampled tokens of the phase
    loss = max(-A ratio, -A clip(ratio, 1 - clip_range, 1 + clip_range)) per token, every token weighing the same

Two completions of one prompt are not needed: the baseline is what all prompts got. `group_mean` takes each prompt's own
mean off first (the paper's REINFORCE++ with baseline), which needs two completions of each.

Deviations: none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from accorda.data.prompts.experience import Sample, flat, with_told
from accorda.objectives.policy.rewards import token_rewards
from accorda.objectives.policy.whitening import whiten
from accorda.recipe.types import NonNegativeFloat
from accorda.rl.advantage import judged, log_ratios, stacked
from accorda.rl.contract import ClippedTokens, Memory
from accorda.rl.rollout import Group
from accorda.rl.settings import RolloutSettings


@dataclass(frozen=True, kw_only=True)
class Reinforce(ClippedTokens):
    """Better than the rest of the batch."""

    paper: ClassVar[str] = "arXiv:2501.03262"
    least_generations: ClassVar[int] = 1

    kl_coef: NonNegativeFloat = 0.05
    """What a nat of distance from the reference costs, in units of the reward."""
    group_mean: bool = False
    """Take the mean of the same prompt's completions off their rewards first."""

    def misfit(self, rollout: RolloutSettings) -> str | None:
        if self.group_mean and rollout.num_generations < 2:
            return (
                "algorithm.group_mean = true: with rollout.num_generations = 1 every reward is its own prompt's mean, "
                "so nothing would be learned; ask for 2 completions or more"
            )
        return super().misfit(rollout)

    @property
    def kl_price(self) -> float:
        return self.kl_coef

    def experience(self, groups: Sequence[Group], memory: Memory) -> list[Sample]:
        found = judged(groups)
        samples = [one for answers in found for one, _ in answers]
        if not samples:
            return []
        scores = torch.tensor([reward - self.baseline(answers) for answers in found for _, reward in answers])
        _, mask = stacked(samples, "drawn_log_probs")
        kl = torch.nn.utils.rnn.pad_sequence(log_ratios(samples, self.kl_coef), batch_first=True)
        rewards = token_rewards(scores, kl, mask, kl_coef=self.kl_coef)
        returns = rewards.flip(-1).cumsum(-1).flip(-1)
        numbers = [one.num_sampled for one in samples]
        each = flat(whiten(returns, mask), numbers).split(numbers)
        return [with_told(one, advantages=value) for one, value in zip(samples, each, strict=True)]

    def baseline(self, answers: Sequence[tuple[Sample, float]]) -> float:
        """What is taken off the rewards of one prompt's completions."""
        return sum(reward for _, reward in answers) / len(answers) if self.group_mean else 0.0
