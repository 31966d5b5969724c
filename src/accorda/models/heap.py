"""What is asked of the C library's allocator on a CPU, where a base is held in a number format.

A linear's dense weight is formed for one product and dropped. In the heap small objects settle in the hole it leaves,
which then no longer takes the next one, and how many holes go that way hangs on where the heap happens to begin: the
same run peaked between half and twice of what it had in use (docs/decisions/056). A block with a mapping of its own
leaves no hole. Its pages come fresh: about 4 ms for a weight of 23 MB, whose product with 512 tokens takes 60.

Without GNU's C library nothing is done.
"""

import ctypes
import os
import sys

OWN_MAPPING = 1 << 22
"""Bytes from which a block gets a mapping of its own: smaller holes are found again by what comes next."""
M_MMAP_THRESHOLD = -3  # of malloc.h
BY_USER = "MALLOC_MMAP_THRESHOLD_"


def give_back() -> None:
    """Have the C library return what it keeps of freed memory.

    The hole that a tensor leaves in the heap is mostly too small for the next one of its size (planning/replay.py says
    why), so without this what every dense weight leaves behind would add up to more than the dense model.
    """
    trim = _function("malloc_trim")
    if trim is not None:
        trim(0)


def threshold() -> int:
    """From how many bytes blocks get mappings of their own where `map_large_blocks` was called; 0: as ever."""
    return 0 if BY_USER in os.environ or _function("mallopt") is None else OWN_MAPPING


def map_large_blocks() -> None:
    """From now on, give every large block a mapping of its own; what the user told the C library stands."""
    mallopt = _function("mallopt")
    if mallopt is not None and (size := threshold()):
        mallopt(M_MMAP_THRESHOLD, size)
        give_back()  # what lies free at the heap's end would be taken first


def _function(name: str) -> "ctypes._NamedFuncPointer | None":
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
