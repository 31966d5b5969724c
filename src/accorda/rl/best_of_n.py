"""Best of n: no training, the best of n answers is given.

Stiennon et al., "Learning to summarize from human feedback" (2020), arXiv:2009.01325; its distance from the policy,
Beirami et al. (2024), arXiv:2401.01879:

    P(the k-th worst answer) = F_k^n - F_{k-1}^n        F the policy's distribution of rewards, all of them different
    KL(best of n, policy)   <= log n - (n - 1) / n      equal where no two answers are worth the same and none is likely
"""

from collections.abc import Sequence
from math import log

import numpy as np

from accorda.rl.rollout import Answer, Group


def best(group: Group) -> Answer | None:
    """The answer of highest reward, the first of several; None where none could be judged."""
    known = [answer for answer in group.answers if answer.reward is not None]
    return max(known, key=lambda answer: answer.reward or 0.0) if known else None


def probabilities(policy: Sequence[float], rewards: Sequence[float], n: int) -> np.ndarray:
    """Of each answer the probability to be the best of n that the policy samples, (k,); rewards are all different."""
    order = np.argsort(np.asarray(rewards))
    below = np.concatenate([[0.0], np.cumsum(np.asarray(policy, np.float64)[order])])
    found = np.empty(len(order))
    found[order] = np.diff(below**n)
    return found


def most_kl(n: int) -> float:
    """The most that best of n can be away from the policy, in nats."""
    return log(n) - (n - 1) / n
