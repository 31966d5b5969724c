"""Which rows share a line: best-fit-decreasing bin packing."""

from bisect import bisect_left, insort
from collections.abc import Sequence


def best_fit_decreasing(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Bins of indices into `lengths` (tokens), each with a sum of at most `capacity` tokens.

    Longest first, each into the fullest bin it still fits, else into a new one (Johnson, 1973: at most 11/9 of the
    best number of bins, plus 4). A row longer than `capacity` has a bin of its own. Equal lengths go by index, so the
    result is a pure function of its arguments. O(n log n) comparisons.
    """
    bins: list[list[int]] = []
    room: list[tuple[int, int]] = []  # (tokens left, bin), sorted
    for index in sorted(range(len(lengths)), key=lambda i: (-int(lengths[i]), i)):
        length = int(lengths[index])
        at = bisect_left(room, (length, -1))
        if at == len(room):
            bins.append([index])
            insort(room, (max(capacity - length, 0), len(bins) - 1))
            continue
        left, number = room.pop(at)
        bins[number].append(index)
        insort(room, (left - length, number))
    return bins
