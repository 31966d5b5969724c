"""What the C library's allocator makes of a run's tensors: a rehearsed trace is replayed with its own malloc and free.

A tensor is asked for at a multiple of 64 bytes: the library takes a piece 96 bytes larger and gives the ends back, and
the small objects that stand for tensors and for the graph settle in those ends. So the hole that a tensor leaves is too
small for the next one of its size, and what lies between longer-lived tensors is held though it is free. No formula
tells how much that is; the library itself does. Nothing is written into the blocks, so the replay needs address space
but hardly memory, and it runs in a process of its own, whose heap nobody else uses.

SMALL are the sizes of those objects, counted with a wrapper around malloc in a forward pass of torch 2.13 on Linux: of
a tensor (implementation, storage, sizes) and, until its backward pass, of its node in the graph.

This file runs as a script too, with the standard library alone.
"""

import ctypes
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

SMALL_TENSOR, SMALL_NODE = (176, 96, 24), (184, 312, 32, 24)  # bytes
ALIGNED = 64
LARGEST = 1 << 28  # blocks beyond 256 MB are mapped by themselves: as large as they are, wherever there is a hole
FIELDS = (
    *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
    *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
)  # of struct mallinfo2
M_MMAP_THRESHOLD = -3  # of malloc.h
LOOKED_AT = 1 << 16  # the statistics are read when a block of at least that many bytes came


@dataclass(frozen=True)
class Course:
    """Events (number, bytes or None), and what is known of them, by number or by event.

    stretches: (begin, end) of the parts to be told apart, in the order of the replay; the same part may come again.
    outside: tensors that come from elsewhere. graph: those with a node in the graph; ends: events at which it goes.
    own_mapping: bytes from which a run has the library give blocks mappings of their own; 0: by the library's rule.
    sizes: how large in each stretch the tensors that hang on the length of rows are, as a share; none: all of it.
    by_length: which these are. Those of over `LARGEST` bytes stay as they are.
    """

    events: Sequence[tuple[int, int | None]]
    stretches: Sequence[tuple[int, int]]
    outside: Sequence[int]
    graph: Sequence[int]
    ends: Sequence[int]
    own_mapping: int = 0
    sizes: Sequence[float] = ()
    by_length: Sequence[int] = ()


def held(course: Course) -> list[int] | None:
    """The most bytes that are held in each stretch, those outside included; None where the library cannot tell."""
    done = subprocess.run(
        [sys.executable, "-I", __file__], input=json.dumps(asdict(course)), capture_output=True, text=True, check=False
    )
    return json.loads(done.stdout) if done.returncode == 0 else None


class Statistics(ctypes.Structure):
    """struct mallinfo2 of glibc 2.33 and later."""

    _fields_ = [(name, ctypes.c_size_t) for name in FIELDS]


class Library:
    """malloc and free of this process."""

    def __init__(self, own_mapping: int = 0) -> None:
        self.c: Any = ctypes.CDLL(None)
        if own_mapping:
            self.c.mallopt(M_MMAP_THRESHOLD, own_mapping)
        self.c.mallinfo2.restype = Statistics
        self.c.malloc.restype = ctypes.c_void_p
        self.c.malloc.argtypes = [ctypes.c_size_t]
        self.c.free.argtypes = [ctypes.c_void_p]
        self.c.posix_memalign.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t]
        self.before = self.pages()

    def pages(self) -> int:
        """Bytes of the heap up to its last block, and of blocks that are mapped by themselves."""
        found = self.c.mallinfo2()
        return found.arena - found.keepcost + found.hblkhd

    def held(self) -> int:
        """Bytes since the beginning."""
        return self.pages() - self.before

    def tensor(self, size: int) -> int:
        """A block as tensors get them."""
        block = ctypes.c_void_p()
        if self.c.posix_memalign(ctypes.byref(block), ALIGNED, size):
            raise MemoryError(f"no {size} bytes of address space")
        return block.value or 0

    def small(self, sizes: Sequence[int]) -> list[int]:
        """Small objects."""
        return [self.c.malloc(size) for size in sizes]

    def free(self, blocks: Sequence[int]) -> None:
        """Give blocks back."""
        for block in blocks:
            self.c.free(block)


def replay(course: Course) -> list[int]:
    """The most that is held in each stretch; runs in a process of its own."""
    library, blocks, nodes = Library(course.own_mapping), dict[int, list[int]](), list[int]()
    sizes = {number: size for number, size in course.events if size is not None}
    elsewhere = set(course.outside) | {number for number, size in sizes.items() if size > LARGEST}
    graph, ends, by_length, outside, most = set(course.graph), set(course.ends), set(course.by_length), 0, []
    for place, (begin, end) in enumerate(course.stretches):
        share = course.sizes[place] if course.sizes else 1.0
        most.append(library.held() + outside)
        for event in range(begin, end):
            number, size = course.events[event]
            if event in ends:
                library.free(nodes)
                nodes.clear()
            if number in elsewhere:
                outside += sizes[number] if size is not None else -sizes[number]
            elif size is None:
                library.free(blocks.pop(number))
            else:
                first, *others = SMALL_TENSOR
                size = int(size * share) if number in by_length else size
                blocks[number] = [*library.small([first]), library.tensor(size), *library.small(others)]
                nodes += library.small(SMALL_NODE) if number in graph else []
            if size is not None and size >= LOOKED_AT:
                most[-1] = max(most[-1], library.held() + outside)
    return most


if __name__ == "__main__":
    json.dump(replay(Course(**json.load(sys.stdin))), sys.stdout)
