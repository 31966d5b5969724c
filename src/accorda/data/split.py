"""Which rows are kept apart for evaluation, and how sources are mixed: functions of seed and content alone."""

from collections import Counter
from collections.abc import Iterator

import numpy as np

from accorda.data.order import keys
from accorda.data.spill import kept, pieces

EVAL, MIXTURE = 0, 1
"""Streams of pseudo-random keys that are independent of each other."""
BUCKETS = 1 << 16
"""Ranges of keys that rows are counted in, so that one of them has to be sorted and not all rows."""


def held_out(digests: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Which rows (a mask) are for evaluation: about `share` of them, at least one where there are two different ones.

    Rows are taken by the key of their content, so the split does not depend on the order or the place of rows, and
    equal rows never stand on both sides.
    """
    last = None
    if share > 0 and len(digests):
        last = _last(digests, min(max(1, int(np.floor(share * len(digests) + 0.5))), len(digests)), seed)
    if last is None:
        return np.zeros(len(digests), np.bool_)
    return kept((found <= last for found in _keys(digests, seed)), np.bool_)


def _last(digests: np.ndarray, wanted: int, seed: int) -> np.uint64 | None:
    """The largest key of held-out rows, if `wanted` are; None where all rows are equal."""
    counts = np.zeros(BUCKETS, np.int64)
    for found in _keys(digests, seed):
        counts += np.bincount(_bucket(found), minlength=BUCKETS)
    bucket = int(np.searchsorted(np.cumsum(counts), wanted))
    before = int(counts[:bucket].sum())
    inside = Counter[int]()
    for found in _keys(digests, seed):
        values, times = np.unique(found[_bucket(found) == bucket], return_counts=True)
        inside.update(dict(zip(values.tolist(), times.tolist(), strict=True)))
    values = sorted(inside)
    reached = np.cumsum([inside[value] for value in values])
    place = int(np.searchsorted(reached, wanted - before))
    if place + 1 == len(values) and not counts[bucket + 1 :].any():  # the largest of all: something is left to train on
        place -= 1
    if place >= 0:
        return np.uint64(values[place])
    below = (found[_bucket(found) < bucket] for found in _keys(digests, seed))
    return max((found.max() for found in below if len(found)), default=None)


def _keys(digests: np.ndarray, seed: int) -> Iterator[np.ndarray]:
    return (keys(seed, EVAL, piece) for piece in pieces(digests))


def _bucket(found: np.ndarray) -> np.ndarray:
    return (found >> np.uint64(48)).astype(np.int64)


def repeated(n: int, weight: float, seed: int, source: int) -> np.ndarray:
    """Which of a source's `n` rows a mixture takes, with weight w round(w * n) of them.

    Each row floor(w) times, and of the rest those with the smallest keys of (seed, source, row).
    """
    whole = int(weight)
    rest = int(np.floor((weight - whole) * n + 0.5))
    drawn = np.argsort(keys(seed, MIXTURE + source, np.arange(n)), kind="stable")[:rest]
    return np.concatenate([np.tile(np.arange(n), whole), np.sort(drawn)])
