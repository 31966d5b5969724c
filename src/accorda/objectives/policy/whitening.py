"""Means and whitening over the tokens that count.

Over several devices the sums are added up first: `whiten(x, mask, totals=all_reduced(sums(x, mask)))`. A mean of means
would weigh devices, not tokens.
"""

import torch
from torch import Tensor

EPSILON = 1e-8


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean of x over the mask, both (B, T): a scalar; zero for an empty mask."""
    return torch.where(mask.bool(), x, 0.0).sum() / mask.sum().clamp(min=1)


def sums(x: Tensor, mask: Tensor) -> Tensor:
    """Number, sum and sum of squares of x over the mask, (3,) in fp64, for the sake of the variance."""
    counted = torch.where(mask.bool(), x, 0.0).double()
    return torch.stack([mask.sum().double(), counted.sum(), counted.square().sum()])


def whiten(x: Tensor, mask: Tensor, totals: Tensor | None = None, *, shift_mean: bool = True) -> Tensor:
    """(x - mean) / sqrt(variance + 1e-8) over the mask, zero off it, (B, T); the variance is the biased one.

    Args:
        x: what to whiten, (B, T).
        mask: 1 on sampled tokens, (B, T).
        totals: `sums` over everything that is whitened together; of this batch unless given.
        shift_mean: where false the mean is put back: only the scale changes. A shifted mean of rewards, unlike one of
            advantages, is a bonus or a fee on every token, and moves the optimum.
    """
    number, total, squares = (sums(x, mask) if totals is None else totals).unbind()
    mean = total / number.clamp(min=1)
    variance = (squares / number.clamp(min=1) - mean.square()).clamp(min=0)
    white = (x - mean.to(x.dtype)) * torch.rsqrt(variance + EPSILON).to(x.dtype)
    return torch.where(mask.bool(), white if shift_mean else white + mean.to(x.dtype), 0.0)
