"""AdamW: Loshchilov and Hutter, 2019, "Decoupled Weight Decay Regularization" (arXiv:1711.05101).

    m = b1 m + (1 - b1) g,   v = b2 v + (1 - b2) g^2
    theta -= lr (m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps) + weight_decay theta)

The arithmetic is `torch.optim.AdamW`, its fused form: one kernel over all tensors, elementwise, so the same bits every
time.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from accorda.recipe.types import PositiveFloat, Share
from accorda.training.optimizers.contract import Groups, Settings


@dataclass(frozen=True, kw_only=True)
class AdamW(Settings):
    """The usual choice: two moments per parameter, 8 bytes in fp32."""

    beta1: Share = 0.9
    beta2: Share = 0.999
    epsilon: PositiveFloat = 1e-8

    def build(self, groups: Groups) -> torch.optim.Optimizer:
        """Torch's AdamW; `lr` is 0 until the loop sets it."""
        betas = (self.beta1, self.beta2)
        return torch.optim.AdamW(list(groups), lr=0.0, betas=betas, eps=self.epsilon, weight_decay=0.0, fused=True)

    def bytes_per_parameter(self, shape: Sequence[int]) -> float:
        """Two fp32 moments."""
        return 8.0
