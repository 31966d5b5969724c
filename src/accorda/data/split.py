"""Which rows are kept apart for evaluation, and how sources are mixed: functions of seed and content alone."""

import numpy as np

from accorda.data.sampler import keys

EVAL, MIXTURE = 0, 1
"""Streams of pseudo-random keys that are independent of each other."""


def held_out(digests: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Which rows (a mask) are for evaluation: about `share` of them, at least one where there are two different ones.

    Rows are taken by the key of their content, so the split does not depend on the order or the place of rows, and
    equal rows never stand on both sides.
    """
    if share <= 0:
        return np.zeros(len(digests), np.bool_)
    unique, inverse, counts = np.unique(digests, return_inverse=True, return_counts=True)
    if len(unique) < 2:
        return np.zeros(len(digests), np.bool_)
    ranking = np.argsort(keys(seed, EVAL, unique), kind="stable")
    wanted = max(1, int(np.floor(share * len(digests) + 0.5)))
    number = int(np.searchsorted(np.cumsum(counts[ranking]), wanted)) + 1
    chosen = np.zeros(len(unique), np.bool_)
    chosen[ranking[: min(number, len(unique) - 1)]] = True
    return chosen[inverse]


def repeated(n: int, weight: float, seed: int, source: int) -> np.ndarray:
    """Which of a source's `n` rows a mixture takes, with weight w round(w * n) of them.

    Each row floor(w) times, and of the rest those with the smallest keys of (seed, source, row).
    """
    whole = int(weight)
    rest = int(np.floor((weight - whole) * n + 0.5))
    drawn = np.argsort(keys(seed, MIXTURE + source, np.arange(n)), kind="stable")[:rest]
    return np.concatenate([np.tile(np.arange(n), whole), np.sort(drawn)])
