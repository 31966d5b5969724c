"""Losses of a reward model: which answer people preferred, said by one number per answer.

Pairs, Bradley and Terry, "Rank Analysis of Incomplete Block Designs" (1952), with the margin of Touvron et al.,
"Llama 2" (2023), arXiv:2307.09288, equation 2, and the centring of Eisenstein et al., "Helping or Herding?" (2023),
arXiv:2312.09244:

    loss = -log sigmoid(r_chosen - r_rejected - margin) + centring (r_chosen + r_rejected)^2

Rankings of K answers to one prompt, Ouyang et al., "Training language models to follow instructions with human
feedback" (2022), arXiv:2203.02155, equation 1:

    loss = -1 / C(K, 2) sum over w ranked above l of log sigmoid(r_w - r_l)        margin and centring as for pairs

Only differences of rewards enter (but for the centring), so a model's rewards have no zero of their own.
Deviation: ties are dropped, and the divisor is the number of strict pairs, which is C(K, 2) where there are no ties.
"""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


def pairwise(chosen: Tensor, rejected: Tensor, *, margin: Tensor | float = 0.0, centring: float = 0.0) -> Tensor:
    """Loss of each pair (N,) in nats from the rewards of its answers, both (N,).

    Args:
        chosen: rewards of the preferred answers.
        rejected: rewards of the others.
        margin: by how much the preferred one should win, one number or (N,).
        centring: weight of the square that draws rewards towards zero; the paper's eta, 0.01 there.
    """
    return -logsigmoid(chosen - rejected - margin) + centring * (chosen + rejected).square()


def k_wise(
    rewards: Tensor,
    ranks: Tensor,
    mask: Tensor | None = None,
    *,
    margin: Tensor | float = 0.0,
    centring: float = 0.0,
) -> Tensor:
    """Loss of each prompt (...,) in nats: the mean over its strictly ordered pairs of answers; zero where all are tied.

    Args:
        rewards: of the K answers of a prompt, (..., K).
        ranks: 0 is best, equal ranks are ties, (..., K).
        mask: true where there is an answer, for prompts with fewer than K, (..., K).
        margin: as in `pairwise`, one number or (...,).
        centring: as in `pairwise`.
    """
    above = ranks.unsqueeze(-1) < ranks.unsqueeze(-2)
    if mask is not None:
        above = above & mask.bool().unsqueeze(-1) & mask.bool().unsqueeze(-2)
    chosen, rejected = (each.masked_fill(~above, 0.0) for each in (rewards.unsqueeze(-1), rewards.unsqueeze(-2)))
    wide = margin[..., None, None] if isinstance(margin, Tensor) else margin
    losses = torch.where(above, pairwise(chosen, rejected, margin=wide, centring=centring), 0.0)
    return losses.sum((-2, -1)) / above.sum((-2, -1)).clamp(min=1)
