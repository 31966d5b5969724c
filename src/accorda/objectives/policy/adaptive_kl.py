"""A price of the KL that follows its target.

Ziegler et al., "Fine-Tuning Language Models from Human Preferences" (2019), arXiv:1909.08593, section 2.2.

    error   = clip(kl / target - 1, -0.2, 0.2)
    kl_coef = kl_coef (1 + error num_sequences / horizon)

The coefficient is the whole state: whoever keeps it can go on.
"""

CLIP = 0.2


def adapted(kl_coef: float, kl: float, *, num_sequences: int, target: float = 6.0, horizon: int = 10_000) -> float:
    """The next coefficient, from the batch's mean KL per sequence in nats (summed over tokens, not a mean of them).

    Args:
        kl_coef: the coefficient so far.
        kl: mean over the batch's sequences of the summed KL of each.
        num_sequences: sequences in the batch.
        target: the KL per sequence to hold, in nats.
        horizon: sequences over which the coefficient may change by a fifth.
    """
    error = min(max(kl / target - 1, -CLIP), CLIP)
    return kl_coef * (1 + error * num_sequences / horizon)
