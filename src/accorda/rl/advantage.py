"""How much better a completion was than expected: from rewards to one number per sampled token.

Groups are uneven where an answer could not be judged: each is looked at by itself, over the answers that were.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from accorda.data.prompts.experience import Sample, dense
from accorda.rl.rollout import Group


def judged(groups: Sequence[Group]) -> list[list[tuple[Sample, float]]]:
    """Of each prompt its answers that have a reward."""
    return [[(one.sample, one.reward) for one in group.answers if one.reward is not None] for group in groups]


def log_ratios(samples: Sequence[Sample], kl_coef: float) -> list[Tensor]:
    """log(policy / reference) of every sampled token, (n,) each; zero where it costs nothing and nobody asked."""
    if not kl_coef:
        return [torch.zeros(one.num_sampled) for one in samples]
    return [one.told["old_log_probs"] - one.told["reference_log_probs"] for one in samples]


def with_kl(groups: Sequence[Sequence[tuple[Sample, float]]], kl_coef: float) -> list[Tensor]:
    """Rewards of each group, less what the distance from the reference costs: r - coef * sum of k1, (g,) each."""
    return [
        torch.tensor([reward - kl_coef * float(log_ratios([one], kl_coef)[0].double().sum()) for one, reward in group])
        if group
        else torch.zeros(0)
        for group in groups
    ]


def within_groups(rewards: Sequence[Tensor], way: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """An advantage of `objectives.policy.group` for each group, (g,) each; an answer alone in its group gets zero."""
    return [way(group) if len(group) > 1 else torch.zeros_like(group) for group in rewards]


def spread(advantages: Tensor, samples: Sequence[Sample]) -> list[Tensor]:
    """One number per completion on each of its tokens."""
    return [value.expand(one.num_sampled) for value, one in zip(advantages, samples, strict=True)]


def stacked(samples: Sequence[Sample], name: str) -> tuple[Tensor, Tensor]:
    """What is told of all tokens as (B, T), and the mask."""
    numbers = [one.num_sampled for one in samples]
    values = torch.cat([one.told[name] for one in samples])
    return dense(values, numbers), dense(torch.ones_like(values), numbers)
