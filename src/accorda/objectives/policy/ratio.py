"""How much likelier the policy makes what was sampled than the policy that sampled it did.

    token:     policy(o_t) / old(o_t)                                    PPO, GRPO          (B, T)
    sequence:  policy(o) / old(o)                                        RLOO               (B, 1)
    gspo:      (policy(o) / old(o))^(1 / |o|)                            GSPO               (B, 1)

GSPO: Zheng et al., "Group Sequence Policy Optimization" (2025), arXiv:2507.18071, equation 7.
A ratio is exp of a difference of log-probabilities, which is held within 20 nats, so that none overflows.
"""

import torch
from torch import Tensor

LIMIT = 20.0


def token_ratio(log_probs: Tensor, old_log_probs: Tensor) -> Tensor:
    """The ratio of each token, (B, T), from log-probabilities in nats, (B, T) each."""
    return _exp(log_probs - old_log_probs)


def sequence_ratio(log_probs: Tensor, old_log_probs: Tensor, mask: Tensor) -> Tensor:
    """The ratio of each whole completion, (B, 1), from log-probabilities in nats, (B, T) each."""
    return _exp(sequence_log_ratio(log_probs, old_log_probs, mask).unsqueeze(-1))


def gspo_ratio(log_probs: Tensor, old_log_probs: Tensor, mask: Tensor) -> Tensor:
    """The geometric mean of the tokens' ratios, (B, 1), from log-probabilities in nats, (B, T) each."""
    mean = sequence_log_ratio(log_probs, old_log_probs, mask) / mask.sum(-1).clamp(min=1)
    return _exp(mean.unsqueeze(-1))


def sequence_log_ratio(log_probs: Tensor, other_log_probs: Tensor, mask: Tensor) -> Tensor:
    """Log of the ratio of whole completions in nats, (B,), from log-probabilities (B, T) each."""
    return torch.where(mask.bool(), log_probs - other_log_probs, 0.0).sum(-1)


def _exp(log_ratio: Tensor) -> Tensor:
    return log_ratio.clamp(-LIMIT, LIMIT).exp()
