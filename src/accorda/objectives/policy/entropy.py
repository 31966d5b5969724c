"""Entropy of the next token's distribution: how much a policy still tries.

H = -sum_v p_v log p_v,    p = softmax(logits)
"""

import torch
from torch import Tensor


def entropy(logits: Tensor) -> Tensor:
    """Entropy in nats, (..., V) -> (...,), in fp32 or wider; tokens at minus infinity add nothing to it."""
    wide = logits if logits.dtype == torch.float64 else logits.float()
    log_probs = torch.log_softmax(wide, -1)
    impossible = log_probs == -torch.inf
    return -(log_probs.exp() * log_probs.masked_fill(impossible, 0.0)).sum(-1)
