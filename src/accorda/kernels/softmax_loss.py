"""Softmax cross-entropy of logits z (n, V), whose gradient takes their place.

    loss = sum_n w_n (log sum_v exp z_nv - z_n,label)    z_nv <- d loss / d z_nv = w_n (softmax(z_n)_v - [v = label])

In fp32 whatever the logits' dtype, on so few rows at a time that they stay in the processor's cache; by Triton in one
program per row, which reads the row twice and holds no fp32 copy of it. Nothing as large as the logits is made.
"""

from itertools import repeat

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from accorda.kernels import triton
from accorda.kernels.pretended import pretended

SCORES_AT_ONCE = 2**20  # 4 MB in fp32: they stay in the processor's cache
AT_ONCE = 4096  # of Triton's program


def softmax_loss_(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """The summed loss of logits (n, V), a scalar in fp32 or wider; the logits become its gradient towards them.

    `weights` (n,): each row's share of the sum.
    """
    if len(logits) and triton.takes(logits):
        return _fused(logits, labels, weights)
    if pretended() == "cuda":
        return _losses(logits).sum()
    return reference_(logits, labels, weights)


def reference_(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """The same, in torch."""
    total = wide(logits.new_zeros(()))
    shares = repeat(None) if weights is None else weights.split(rows_at_once(logits))
    for some, label, share in zip(*in_cache(logits, labels), shares, strict=False):
        index = label.unsqueeze(-1)
        scores = wide(some)
        scores -= scores.amax(-1, keepdim=True)
        at_label = scores.gather(-1, index)
        sums = scores.exp_().sum(-1, keepdim=True)
        losses = sums.log() - at_label
        scores.div_(sums).scatter_add_(-1, index, scores.new_full((), -1.0).expand(index.shape))
        if share is not None:
            losses = losses * share.unsqueeze(-1)
            scores *= share.unsqueeze(-1)
        total += losses.sum()
        if scores is not some:
            some.copy_(scores)
    return total


def rows_at_once(logits: Tensor) -> int:
    """How many rows of (n, V) stay in the processor's cache."""
    return max(1, SCORES_AT_ONCE // logits.shape[-1])


def in_cache(logits: Tensor, labels: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Logits (n, V) and labels (n,) in pieces of so few rows."""
    rows = rows_at_once(logits)
    return logits.split(rows), labels.split(rows)


def wide(tensor: Tensor) -> Tensor:
    """The tensor in fp32, or in fp64 if it is: sums of exponentials want more bits than bf16 has."""
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()


def _losses(logits: Tensor) -> Tensor:
    return torch.empty(len(logits), dtype=torch.float32, device=logits.device)


def _fused(logits: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
    rows, vocabulary = logits.shape
    losses, dense = _losses(logits), logits.contiguous()
    size = min(AT_ONCE, triton.next_power(vocabulary))
    share = losses if weights is None else weights.float().contiguous()  # without weights it is not read
    triton.code("softmax_loss").softmax_loss[(rows,)](
        dense, labels.contiguous(), share, losses, vocabulary, WEIGHTED=weights is not None, SIZE=size
    )
    if dense is logits:
        increment_version(logits)  # autograd does not see what Triton writes
    else:
        logits.copy_(dense)
    return losses.sum()
