"""Estimates of KL(policy, reference) from what the policy sampled. Schulman, "Approximating KL Divergence", 2020.

With x = log policy(o) - log reference(o) for a sampled o:

    k1 = x,    k2 = x^2 / 2,    k3 = exp(-x) - 1 + x

As numbers k1 and k3 are unbiased, k2 nearly so. As something to minimise, on samples of the policy itself:

    k1 in the reward       gradient of KL(policy, reference); the optimum is reference * exp(r / coef)
    k1 in the loss         none: its expected gradient is zero, so it must not be used there
    k2 of whole sequences  gradient of KL(policy, reference), the same optimum
    k3 in the loss         gradient of KL(reference, policy), another optimum: coef reference / (c - r)
    k2, k3 of tokens       neither: a token's effect on the tokens after it is left out, and the pull is weaker
"""

from torch import Tensor

LIMIT = 20.0


def k1(log_ratio: Tensor) -> Tensor:
    """The log-ratio itself, (...,) in nats; may be negative for a sample."""
    return log_ratio


def k2(log_ratio: Tensor) -> Tensor:
    """Half its square, (...,)."""
    return log_ratio.square() / 2


def k3(log_ratio: Tensor) -> Tensor:
    """exp(-x) - 1 + x, (...,) in nats: never negative. Held, without gradient, where x is below -20 nats."""
    x = log_ratio.clamp(min=-LIMIT)
    return (-x).expm1() + x
