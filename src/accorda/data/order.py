"""The order of rows, a pure function of (seed, epoch, row): nothing has to be stored, and no row moves another one.

Rows are sorted by pseudo-random keys. Where there are many, stretches of them are sorted, and what lies between two
keys is then taken from all stretches: a merge sort of about `RUN` rows at a time. Beside them stand the places of those
keys in each stretch, (n / RUN)^2 numbers.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from accorda.data.spill import copied, kept

RUN = 1 << 16
"""Rows that are sorted in memory."""
KEYED = np.dtype([("key", "<u8"), ("row", "<i8")])


def mix(values: np.ndarray) -> np.ndarray:
    """Scrambles uint64 values one to one (the output function of splitmix64; Steele, Lea, Flood 2014)."""
    with np.errstate(over="ignore"):
        values = values + np.uint64(0x9E3779B97F4A7C15)
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return values ^ (values >> np.uint64(31))


def keys(seed: int, epoch: int, values: np.ndarray) -> np.ndarray:
    """One pseudo-random uint64 per value: a pure function of (seed, epoch, value), equal with every numpy version."""
    stream = mix(mix(np.array([seed % 2**64], np.uint64)) ^ np.uint64(epoch % 2**64))
    return mix(mix(values.astype(np.uint64)) ^ stream)


def order(seed: int, epoch: int, n: int) -> np.ndarray:
    """The order (n,) in which `epoch` visits rows 0 to n - 1: by their keys, so a row's key does not depend on n."""
    number = -(-n // RUN)
    borders = np.array([2**64 * part // number for part in range(1, number)], np.uint64)
    cuts = list[np.ndarray]()
    runs = kept(_runs(seed, epoch, n, borders, cuts), KEYED)
    return kept(_merged(runs, cuts), np.int64)


def _runs(seed: int, epoch: int, n: int, borders: np.ndarray, cuts: list[np.ndarray]) -> Iterator[np.ndarray]:
    """Rows in stretches, each sorted by key; `cuts` gets the places in `runs` where each passes a border."""
    for start in range(0, n, RUN):
        rows = np.arange(start, min(start + RUN, n))
        mine = keys(seed, epoch, rows)
        sorting = np.argsort(mine, kind="stable")
        run = np.empty(len(rows), KEYED)
        run["key"], run["row"] = mine[sorting], rows[sorting]
        cuts.append(start + np.concatenate(([0], np.searchsorted(mine[sorting], borders), [len(rows)])))
        yield run


def _merged(runs: np.ndarray, cuts: list[np.ndarray]) -> Iterator[np.ndarray]:
    """Rows by their keys: those between two borders, out of every stretch."""
    for part in zip(*(pairwise(places) for places in cuts), strict=True):
        found = np.concatenate([copied(runs, low, high) for low, high in part])
        yield found["row"][np.argsort(found["key"], kind="stable")]
