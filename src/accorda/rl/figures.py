"""What the log tells of a phase's answers: their rewards, lengths and ends, and how far the policy is from others."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from accorda.objectives.policy.kl import k3
from accorda.rl.reward import Reward
from accorda.rl.rollout import Answer, Group
from accorda.training.policy import DIFFERENCE


def figures(groups: Sequence[Group]) -> dict[str, Any]:
    """Rewards, lengths and ends of a phase's answers."""
    answers = [one for group in groups for one in group.answers]
    rewards = [[one.reward for one in group.answers if one.reward is not None] for group in groups]
    every = [reward for group in rewards for reward in group]
    found: dict[str, Any] = {
        "reward/failed": sum(one.reward is None for one in answers),
        "reward/failed_share": sum(one.reward is None for one in answers) / len(answers),
        "len/mean": float(np.mean([len(one.completion.token_ids) for one in answers])),
        "len/eos_rate": float(np.mean([one.completion.stopped for one in answers])),
    }
    if every:
        found |= {"reward/score": float(np.mean(every)), "reward/std": float(np.std(every))}
        several = [group for group in rewards if len(group) > 1]
        if several:
            found["reward/std_in_group"] = float(np.mean([np.std(group) for group in several]))
            found["reward/equal_groups"] = float(np.mean([max(group) == min(group) for group in several]))
    return found


def watched(reward: Reward) -> dict[str, Any]:
    """What is only watched of the answers judged last: means and spreads."""
    found: dict[str, Any] = {}
    for name, said in reward.watched.items():
        known = [value for value in said if math.isfinite(value)]
        if known:
            found |= {name: float(np.mean(known)), f"{name}/std": float(np.std(known))}
    return found


def distances(answers: Sequence[Answer], has_reference: bool) -> dict[str, Any]:
    """How far the policy is from its reference, and how far the rollout's own log-probabilities are from training's."""
    judged = [one for one in answers if one.reward is not None]
    if not judged:
        return {}
    apart = torch.cat([one.sample.told["old_log_probs"] - one.sample.told["drawn_log_probs"] for one in judged]).abs()
    found: dict[str, Any] = {DIFFERENCE: float(apart.mean()), f"{DIFFERENCE}_max": float(apart.max())}
    if has_reference:
        ratios = [one.sample.told["old_log_probs"] - one.sample.told["reference_log_probs"] for one in judged]
        found["kl/seq"] = float(np.mean([float(ratio.double().sum()) for ratio in ratios]))
        found["kl/k3"] = float(k3(torch.cat(ratios)).mean())
    return found
