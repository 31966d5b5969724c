"""What a value model learns: the return. With the clipping of OpenAI's PPO (Dhariwal et al., baselines, 2017).

squared:   loss = (V - return)^2 / 2
clipped:   loss = max((V - return)^2, (V_old + clip(V - V_old, -clip_range, clip_range) - return)^2) / 2
"""

import torch
from torch import Tensor

from accorda.objectives.policy.whitening import masked_mean


def value_loss(value: Tensor, return_: Tensor) -> Tensor:
    """Half the squared error of each token's value, (B, T), in squared units of the reward."""
    return (value - return_).square() / 2


def clipped_value_loss(value: Tensor, old_value: Tensor, return_: Tensor, *, clip_range: float = 0.2) -> Tensor:
    """As `value_loss`, the worse of the value and of the value held near the one before the update, (B, T)."""
    near = old_value + (value - old_value).clamp(-clip_range, clip_range)
    return torch.maximum(value_loss(value, return_), value_loss(near, return_))


def explained_variance(value: Tensor, return_: Tensor, mask: Tensor) -> Tensor:
    """1 - var(return - value) / var(return) over the mask, a scalar: 1 foretells all, 0 no more than a constant."""
    return 1 - _variance(return_ - value, mask) / _variance(return_, mask).clamp(min=torch.finfo(value.dtype).tiny)


def _variance(x: Tensor, mask: Tensor) -> Tensor:
    return masked_mean((x - masked_mean(x, mask)).square(), mask)
