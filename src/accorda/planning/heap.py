"""What the C library's allocator makes of a run's tensors: the pages a process holds, not the bytes it uses.

A model of glibc's malloc (main arena): the smallest free piece that fits is cut, neighbours that are free are joined,
the end of the heap grows and shrinks, and large blocks that fit nowhere are mapped by themselves. A mapped block that
is freed raises the size from which blocks are mapped (at most 32 MB), so a run that frees large tensors soon keeps them
in the heap, and what lies between longer-lived ones is held though it is free.

Source: the manual page mallopt(3) (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_TOP_PAD).
"""

from bisect import bisect_left, insort

MAPPED_FROM = 128 * 1024
MAPPED_FROM_AT_MOST = 32 * 1024 * 1024
PAD = 128 * 1024
HEADER, STEP, SMALLEST = 16, 16, 32
ALIGNED = 64  # tensors begin at multiples of it; the allocator searches for that much more and gives the rest back
PAGE = 4096
TRIMMED_AFTER_FREEING = 64 * 1024


class Heap:
    """Pages in use by blocks that come and go. Numbers name blocks; sizes are bytes."""

    def __init__(self) -> None:
        self.mapped_from = MAPPED_FROM
        self.trim_from = MAPPED_FROM
        self.mapped = 0  # bytes in blocks of their own
        self.end = 0  # of the heap proper, the free piece at its end included
        self.top = 0  # where that free piece begins
        self.touched = 0  # up to where pages of the heap were ever written
        self._blocks: dict[int, tuple[int | None, int]] = {}  # number -> address (None: mapped) and size
        self._free: dict[int, int] = {}  # address -> size
        self._free_ends: dict[int, int] = {}  # end -> address
        self._by_size: list[tuple[int, int]] = []

    @property
    def resident(self) -> int:
        """Bytes of pages held."""
        return self.mapped + self.touched

    def allocate(self, number: int, size: int) -> None:
        """A block for `number`, aligned as tensors are."""
        size = max(SMALLEST, -(-(size + HEADER) // STEP) * STEP)
        wanted = size + ALIGNED + SMALLEST
        address = self._cut(wanted)
        if address is None:
            if self.end - self.top < wanted + SMALLEST:
                if wanted >= self.mapped_from:
                    pages = -(-(wanted + HEADER) // PAGE) * PAGE
                    self.mapped += pages
                    self._blocks[number] = (None, pages)
                    return
                self.end = -(-(self.top + wanted + SMALLEST + PAD) // PAGE) * PAGE
            address, self.top = self.top, self.top + wanted
        start = -(-(address + HEADER) // ALIGNED) * ALIGNED - HEADER
        if 0 < start - address < SMALLEST:
            start += ALIGNED
        self._blocks[number] = (start, size)
        self.touched = max(self.touched, start + size)
        self._release(start + size, address + wanted - start - size)
        if start > address:
            self._release(address, start - address)

    def free(self, number: int) -> None:
        """The block of `number` is no longer wanted."""
        address, size = self._blocks.pop(number)
        if address is None:
            self.mapped -= size
            if self.mapped_from < size <= MAPPED_FROM_AT_MOST:
                self.mapped_from, self.trim_from = size, 2 * size
            return
        self._release(address, size)

    def _release(self, address: int, size: int) -> None:
        """A piece becomes free: joined with its neighbours, and the end of the heap given back if it is large."""
        if address in self._free_ends:
            before = self._free_ends[address]
            size += self._take(before)
            address = before
        if address + size in self._free:
            size += self._take(address + size)
        if address + size == self.top:
            self.top = address
            size = self.end - address
        else:
            self._put(address, size)
        if size >= TRIMMED_AFTER_FREEING and self.end - self.top >= self.trim_from:
            self.end = -(-(self.top + PAD) // PAGE) * PAGE
            self.touched = min(self.touched, self.end)

    def _cut(self, size: int) -> int | None:
        """The address of the smallest free piece that holds `size`, what is over put back; None where there is none."""
        place = bisect_left(self._by_size, (size, -1))
        if place == len(self._by_size):
            return None
        found, address = self._by_size[place]
        self._take(address)
        if found - size >= SMALLEST:
            self._put(address + size, found - size)
        return address

    def _put(self, address: int, size: int) -> None:
        self._free[address] = size
        self._free_ends[address + size] = address
        insort(self._by_size, (size, address))

    def _take(self, address: int) -> int:
        size = self._free.pop(address)
        del self._free_ends[address + size]
        del self._by_size[bisect_left(self._by_size, (size, address))]
        return size
