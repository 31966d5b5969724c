"""Generalized advantage estimation.

Schulman, Moritz, Levine, Jordan, Abbeel, "High-Dimensional Continuous Control Using Generalized Advantage Estimation"
(2015), arXiv:1506.02438, equation 16.

    delta_t     = reward_t + gamma V_{t+1} - V_t
    advantage_t = delta_t + gamma lambda advantage_{t+1}
    return_t    = advantage_t + V_t

V_t is the value before token t; after the last sampled token it is zero. Tokens between sampled ones that were not
sampled (a tool's output) take no time: credit passes over them.
"""

import torch
from torch import Tensor


def gae(
    rewards: Tensor, values: Tensor, mask: Tensor, *, discount: float = 1.0, gae_lambda: float = 0.95
) -> tuple[Tensor, Tensor]:
    """Advantages and returns, (B, T) each and zero off the mask.

    Args:
        rewards: per token, (B, T).
        values: of the state before each token, (B, T); what they say off the mask is not read.
        mask: 1 on sampled tokens, (B, T).
        discount: the paper's gamma.
        gae_lambda: the paper's lambda; 1 takes whole returns, 0 trusts the values after one step.
    """
    sampled = mask.bool()
    advantage = next_value = torch.zeros_like(values[:, 0])
    found = []
    for t in reversed(range(values.shape[1])):
        delta = rewards[:, t] + discount * next_value - values[:, t]
        here = sampled[:, t]
        advantage = torch.where(here, delta + discount * gae_lambda * advantage, advantage)
        next_value = torch.where(here, values[:, t], next_value)
        found.append(advantage)
    advantages = torch.where(sampled, torch.stack(found[::-1], 1), 0.0)
    return advantages, torch.where(sampled, advantages + values, 0.0)
