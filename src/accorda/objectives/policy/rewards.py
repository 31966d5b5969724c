"""Rewards per token of one score per completion, with the KL to the reference as a cost.

Ouyang et al., "Training language models to follow instructions with human feedback" (2022), arXiv:2203.02155,
equation 2 without its pretraining term; per token, and the score on the last one, as in Ziegler et al. (2019),
arXiv:1909.08593:

    reward_t = -kl_coef kl_t,    and the score is added at the last sampled token
"""

import torch
from torch import Tensor


def token_rewards(score: Tensor, kl: Tensor, mask: Tensor, *, kl_coef: float) -> Tensor:
    """Rewards per token (B, T), zero off the mask, that sum to `score - kl_coef * kl.sum()` over each completion.

    Args:
        score: one per completion, (B,). A completion without a sampled token gets no reward.
        kl: estimates of the KL to the reference per token in nats, (B, T); k1 gives the exact optimum (see `kl`).
        mask: 1 on sampled tokens, (B, T).
        kl_coef: what a nat costs, in units of the score.
    """
    costs = -kl_coef * torch.where(mask.bool(), kl, 0.0)
    return costs + torch.where(last_token(mask), score.unsqueeze(-1), 0.0)


def last_token(mask: Tensor) -> Tensor:
    """True at each row's last sampled token, (B, T) -> (B, T); nowhere in a row that has none."""
    sampled = mask.long()
    after = sampled.flip(-1).cumsum(-1).flip(-1)  # sampled tokens from here on
    return (after == 1) & mask.bool()
