"""CISPO. MiniMax: MiniMax-M1 (2025), arXiv:2506.13585, equations 4 and 5.

    loss = -stop_gradient(min(ratio, ratio_bound)) A log policy(o_t)

Clips the weight of a token, not its gradient: tokens whose ratio is out of bounds go on learning.
Deviation: no lower bound, as in the paper's experiments. The bound is the ratio itself, not what is above 1.
"""

from torch import Tensor


def cispo(log_probs: Tensor, ratio: Tensor, advantage: Tensor, *, ratio_bound: float = 5.0) -> Tensor:
    """Loss of each token, (B, T), from log-probabilities in nats (B, T); ratio and advantage broadcast."""
    return -ratio.detach().clamp(max=ratio_bound) * advantage * log_probs
