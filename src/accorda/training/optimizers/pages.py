"""Where optimizer states live that are not needed now, and how pieces of them come and go.

On a CPU they are pages of a file without a name, mapped into memory: a piece that is let go leaves the process, and the
system writes it out when it wants the memory. For CUDA they are in pinned host memory; copies run on a stream of their
own, one piece ahead of the update, through two buffers on the device. No unified memory is used.
"""

import mmap
import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from accorda.errors import Refusal

ALIGNMENT = 16384  # bytes: whole pages of every system
BUFFERS = 2  # pieces that are at the device at the same time


class Pages(ABC):
    """Room for tensors that are elsewhere most of the time."""

    @abstractmethod
    def new(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """A tensor of zeros that lives here; it is read like any other."""

    @abstractmethod
    def fetch(self, piece: Sequence[Tensor]) -> None:
        """Begin to bring contiguous parts of tensors that live here, and return at once."""

    @abstractmethod
    def held(self, piece: Sequence[Tensor]) -> list[Tensor]:
        """The parts where the update can work on them; `fetch` was called for them."""

    @abstractmethod
    def release(self, piece: Sequence[Tensor]) -> None:
        """The update has changed what `held` gave: it may leave."""

    @abstractmethod
    def rest(self, parts: Sequence[Tensor]) -> None:
        """Parts that were read or written outside an update may leave."""

    @abstractmethod
    def let_go(self, part: Tensor) -> None:
        """The same of a part that may live elsewhere, and stays there."""

    @abstractmethod
    def finish(self) -> None:
        """Return when everything that left has arrived."""


def aligned(shape: Sequence[int], dtype: torch.dtype) -> int:
    """Bytes that a tensor takes here."""
    return -(-prod(shape) * dtype.itemsize // ALIGNMENT) * ALIGNMENT


class MappedPages(Pages):
    """Pages of a file that has no name and ends with the process."""

    def __init__(self, size: int, folder: str | None = None):
        """Reserve room for `size` bytes, each tensor rounded up by `aligned`.

        Raises:
            Refusal: the folder cannot be written, or its disk is too full.
        """
        place = folder or tempfile.gettempdir()
        try:
            with tempfile.TemporaryFile(dir=place) as file:
                os.posix_fallocate(file.fileno(), 0, max(size, ALIGNMENT))
                self.map = mmap.mmap(file.fileno(), max(size, ALIGNMENT))
        except OSError as error:
            raise Refusal(f"{place}: no room for {size / 1e6:.1f} MB of optimizer states ({error.strerror})") from error
        self.taken = 0
        self.start = torch.frombuffer(self.map, dtype=torch.uint8).data_ptr()

    def new(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """The next pages of the file."""
        offset, self.taken = self.taken, self.taken + aligned(shape, dtype)
        return torch.frombuffer(self.map, dtype=dtype, count=prod(shape), offset=offset).view(*shape)

    def fetch(self, piece: Sequence[Tensor]) -> None:
        """Ask the system to read ahead."""
        self._advise(piece, mmap.MADV_WILLNEED)

    def held(self, piece: Sequence[Tensor]) -> list[Tensor]:
        """The pages themselves."""
        return list(piece)

    def release(self, piece: Sequence[Tensor]) -> None:
        """Unmap the pages; what they hold stays in the file."""
        self.rest(piece)

    def rest(self, parts: Sequence[Tensor]) -> None:
        """The same."""
        self._advise(parts, mmap.MADV_DONTNEED)

    def let_go(self, part: Tensor) -> None:
        """Unmap the pages, if it lies in them."""
        if 0 <= part.data_ptr() - self.start < len(self.map):
            self.rest([part])

    def finish(self) -> None:
        """What left is in the file."""

    def _advise(self, piece: Sequence[Tensor], advice: int) -> None:
        for part in piece:
            begin = (part.data_ptr() - self.start) // mmap.PAGESIZE * mmap.PAGESIZE
            end = part.data_ptr() - self.start + part.nbytes
            self.map.madvise(advice, begin, min(end, len(self.map)) - begin)


class PinnedPages(Pages):
    """Pinned host memory, and two buffers on a CUDA device."""

    def __init__(self, device: torch.device, piece_bytes: int):
        """Pieces hold at most `piece_bytes` in all their parts together, each part rounded up by `aligned`."""
        self.device, self.stream = device, torch.cuda.Stream(device)
        self.buffers = [torch.empty(piece_bytes, dtype=torch.uint8, device=device) for _ in range(BUFFERS)]
        self.free = [torch.cuda.Event() for _ in range(BUFFERS)]
        self.ready = [torch.cuda.Event() for _ in range(BUFFERS)]
        self.fetched = self.released = 0

    def new(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """A tensor in host memory that the device reads without a copy in between."""
        return torch.zeros(*shape, dtype=dtype, pin_memory=True)

    def fetch(self, piece: Sequence[Tensor]) -> None:
        """Copy to the next buffer as soon as it is free."""
        buffer, self.fetched = self.fetched % BUFFERS, self.fetched + 1
        with torch.cuda.stream(self.stream):
            self.stream.wait_event(self.free[buffer])
            for part, place in zip(piece, self._places(buffer, piece), strict=True):
                place.copy_(part, non_blocking=True)
            self.ready[buffer].record(self.stream)

    def held(self, piece: Sequence[Tensor]) -> list[Tensor]:
        """What lies in the buffer whose turn it is."""
        buffer = self.released % BUFFERS
        torch.cuda.current_stream(self.device).wait_event(self.ready[buffer])
        return self._places(buffer, piece)

    def release(self, piece: Sequence[Tensor]) -> None:
        """Copy back after what the device has still to do."""
        buffer, self.released = self.released % BUFFERS, self.released + 1
        self.stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self.stream):
            for part, place in zip(piece, self._places(buffer, piece), strict=True):
                part.copy_(place, non_blocking=True)
            self.free[buffer].record(self.stream)

    def rest(self, parts: Sequence[Tensor]) -> None:
        """They are in host memory and stay there."""

    def let_go(self, part: Tensor) -> None:
        """The same."""

    def finish(self) -> None:
        """Wait for the copies: afterwards the host may read them."""
        self.stream.synchronize()

    def _places(self, buffer: int, piece: Sequence[Tensor]) -> list[Tensor]:
        places, offset = [], 0
        for part in piece:
            places.append(self.buffers[buffer][offset : offset + part.nbytes].view(part.dtype).view(part.shape))
            offset += aligned(part.shape, part.dtype)
        return places


class HollowPages(Pages):
    """For tensors that are shapes alone: the buffers take room."""

    def __init__(self, device: torch.device, piece_bytes: int):
        """As of `PinnedPages`."""
        self.buffer = torch.empty(BUFFERS * piece_bytes, dtype=torch.uint8, device=device)

    def new(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """A tensor that takes no room of its own."""
        return self.buffer[: dtype.itemsize].view(dtype).expand(prod(shape)).view(*shape)

    def fetch(self, piece: Sequence[Tensor]) -> None:
        """Nothing comes."""

    def held(self, piece: Sequence[Tensor]) -> list[Tensor]:
        """The buffer."""
        return [self.buffer[: part.nbytes].view(part.dtype).view(part.shape) for part in piece]

    def release(self, piece: Sequence[Tensor]) -> None:
        """Nothing leaves."""

    def rest(self, parts: Sequence[Tensor]) -> None:
        """Nothing leaves."""

    def let_go(self, part: Tensor) -> None:
        """Nothing leaves."""

    def finish(self) -> None:
        """Nothing is on its way."""
