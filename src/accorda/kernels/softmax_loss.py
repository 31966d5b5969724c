"""Softmax cross-entropy of logits z (n, V) and its gradient towards them, formed together.

    loss = sum_n w_n (log sum_v exp z_nv - z_n,label)        d loss / d z_nv = w_n (softmax(z_n)_v - [v = label])

In fp32 whatever the logits' dtype, on so few rows at a time that they stay in the processor's cache; by Triton in one
program per row, which reads the row twice and holds no fp32 copy of it.
"""

from itertools import repeat

import torch
from torch import Tensor

from accorda.kernels import triton
from accorda.kernels.pretended import pretended

SCORES_AT_ONCE = 2**21  # 8 MB in fp32: they stay in the processor's cache
AT_ONCE = 4096  # of Triton's program


def softmax_loss(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The summed loss of logits (n, V), a scalar in fp32 or wider, and its gradient (n, V) in the logits' dtype.

    `weights` (n,): each row's share of the sum.
    """
    if len(logits) and triton.takes(logits):
        return _fused(logits.contiguous(), labels, weights)
    if pretended() == "cuda":
        return _shapes_of_fused(logits)
    return reference(logits, labels, weights)


def reference(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The same, in torch."""
    towards_logits = torch.empty_like(logits)
    total = wide(logits.new_zeros(()))
    rows = max(1, SCORES_AT_ONCE // logits.shape[-1])
    shares = repeat(None) if weights is None else weights.split(rows)
    for some, label, towards, share in zip(
        logits.split(rows), labels.split(rows), towards_logits.split(rows), shares, strict=False
    ):
        index = label.unsqueeze(-1)
        scores = some.to(total.dtype, copy=True)
        scores -= scores.amax(-1, keepdim=True)
        at_label = scores.gather(-1, index)
        sums = scores.exp_().sum(-1, keepdim=True)
        losses = sums.log() - at_label
        scores = scores.div_(sums).scatter_add_(-1, index, scores.new_full((), -1.0).expand(index.shape))
        if share is not None:
            losses, scores = losses * share.unsqueeze(-1), scores.mul_(share.unsqueeze(-1))
        total += losses.sum()
        towards.copy_(scores)
    return total, towards_logits


def wide(tensor: Tensor) -> Tensor:
    """The tensor in fp32, or in fp64 if it is: sums of exponentials want more bits than bf16 has."""
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()


def _shapes_of_fused(logits: Tensor) -> tuple[Tensor, Tensor]:
    """What `_fused` makes, without values."""
    losses = torch.empty(len(logits), dtype=torch.float32, device=logits.device)
    return losses.sum(), torch.empty_like(logits)


def _fused(logits: Tensor, labels: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor]:
    rows, vocabulary = logits.shape
    losses = torch.empty(rows, dtype=torch.float32, device=logits.device)
    towards_logits = torch.empty_like(logits)
    size = min(AT_ONCE, triton.next_power(vocabulary))
    share = losses if weights is None else weights.float().contiguous()  # without weights it is not read
    triton.code("softmax_loss").softmax_loss[(rows,)](
        logits, labels.contiguous(), share, losses, towards_logits, vocabulary, WEIGHTED=weights is not None, SIZE=size
    )
    return losses.sum(), towards_logits
