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
    scores, at_label = _below_the_largest(logits, labels)
    scores.clamp_(min=torch.finfo(torch.float32).min)
    weights = scores.exp()
    sums = weights.sum(-1)
    return at_label - sums.log(), sums.log() - weights.mul_(scores).sum(-1) / sums


@torch.no_grad()
def log_probs_alone(logits: Tensor, labels: Tensor) -> Tensor:
    """The same log-probabilities, bit for bit, without the entropy."""
    scores, at_label = _below_the_largest(logits, labels)
    return at_label - scores.exp_().sum(-1).log()


def _below_the_largest(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """A wide copy of the logits less their largest, (n, V), and that of the labels, (n,)."""
    scores = logits.to(wide(logits[:0]).dtype, copy=True).sub_(logits.amax(-1, keepdim=True))
    return scores, scores.gather(-1, labels.unsqueeze(-1)).squeeze(-1)
