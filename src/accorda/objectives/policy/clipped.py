"""The clipped objective of PPO.

Schulman, Wolski, Dhariwal, Radford, Klimov, "Proximal Policy Optimization Algorithms" (2017), arXiv:1707.06347,
equation 7, as a loss:

    loss = max(-A ratio, -A clip(ratio, 1 - clip_low, 1 + clip_high))

A larger `clip_high` is DAPO's clip-higher: Yu et al. (2025), arXiv:2503.14476, section 3.1. `dual_clipped` bounds the
loss of what was bad and became much likelier: Ye et al. (2019), arXiv:1912.09729:

    loss = min(loss, -A bound) where A < 0

Where ratio is 1 the gradient is REINFORCE's, -A times the gradient of the log-probability.
"""

import math

import torch
from torch import Tensor


def clipped(ratio: Tensor, advantage: Tensor, *, clip_low: float = 0.2, clip_high: float = 0.2) -> Tensor:
    """Loss of each token or sequence, in the advantage's unit; ratio and advantage broadcast, (B, T) or (B, 1)."""
    bounded = ratio.clamp(1 - clip_low, 1 + clip_high)
    return torch.maximum(-advantage * ratio, -advantage * bounded)


def dual_clipped(
    ratio: Tensor, advantage: Tensor, *, clip_low: float = 0.2, clip_high: float = 0.2, bound: float = 3.0
) -> Tensor:
    """As `clipped`, and no larger than `bound` times -A where A < 0; `bound` is above 1."""
    losses = clipped(ratio, advantage, clip_low=clip_low, clip_high=clip_high)
    return torch.where(advantage < 0, torch.minimum(losses, -advantage * bound), losses)


def is_clipped(
    ratio: Tensor, advantage: Tensor, *, clip_low: float = 0.2, clip_high: float = 0.2, bound: float = math.inf
) -> Tensor:
    """True where `clipped`, or with a bound `dual_clipped`, gives no gradient any more.

    Its mean over the mask is the clip fraction that is logged.
    """
    down = (ratio < 1 - clip_low) | (ratio > bound)
    return ((advantage > 0) & (ratio > 1 + clip_high)) | ((advantage < 0) & down)
