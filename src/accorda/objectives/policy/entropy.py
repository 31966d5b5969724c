"""Entropy of the next token's distribution: how much a policy still tries.

H = -sum_v p_v log p_v = log Z - sum_v e_v s_v / Z,    p = softmax(z), s = z - max z, e = exp s, Z = sum_v e_v
"""

import torch
from torch import Tensor

from accorda.kernels.softmax_loss import wide


@torch.no_grad()
def log_probs_and_entropy(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probability of each label and entropy, in nats: logits (n, V), labels (n,) -> (n,) each, in fp32 or wider.

    Tokens at minus infinity add nothing. Without a gradient, by one exponential and one copy of the logits.
    """
    scores = logits.to(wide(logits[:0]).dtype, copy=True).sub_(logits.amax(-1, keepdim=True))
    scores.clamp_(min=torch.finfo(torch.float32).min)
    at_label = scores.gather(-1, labels.unsqueeze(-1)).squeeze(-1)
    weights = scores.exp()
    sums = weights.sum(-1)
    return at_label - sums.log(), sums.log() - weights.mul_(scores).sum(-1) / sums
