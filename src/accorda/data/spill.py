"""Arrays that grow with the rows: in memory while they are small, in a file that has no name once they are large.

What is mapped from a file can be read as any array, and takes no more memory than was looked at since `forget`; passes
over all rows go piece by piece (`pieces`). So preparing data takes memory that does not grow with it. Pages of these
files that a run reads later stay as long as the system has room for them, as those of tokens do.
"""

import mmap
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import chain
from pathlib import Path

import numpy as np

from accorda.data.store import store_root
from accorda.errors import Refusal

PIECE = 1 << 16
"""Rows that a pass looks at together."""
LARGE = 1 << 22
"""Bytes beyond which an array stands in a file."""


def pieces(array: np.ndarray) -> Iterator[np.ndarray]:
    """An array in stretches of at most `PIECE`; those looked at before are forgotten."""
    for start in range(0, len(array), PIECE):
        yield array[start : start + PIECE]
        forget(array)


def copied(array: np.ndarray, begin: int, end: int) -> np.ndarray:
    """A stretch of an array in memory of its own; more than that is not read."""
    found = np.array(array[begin:end])
    forget(array)
    return found


def kept(stretches: Iterable[np.ndarray], dtype: np.dtype | type) -> np.ndarray:
    """Stretches end to end, read-only.

    Raises:
        Refusal: no room on the disk.
    """
    held, size = list[np.ndarray](), 0
    coming = iter(stretches)
    for stretch in coming:
        held.append(np.ascontiguousarray(stretch, dtype))
        size += held[-1].nbytes
        if size > LARGE:
            return _in_a_file(held, coming, np.dtype(dtype))
    whole = np.concatenate(held) if held else np.zeros(0, dtype)
    whole.flags.writeable = False  # as a mapped one is
    return whole


def forget(array: np.ndarray) -> None:
    """What was read of a mapped array need not stay in memory; it can be read again."""
    owner: object = array
    while isinstance(owner, np.ndarray | memoryview):
        owner = owner.base if isinstance(owner, np.ndarray) else owner.obj
    if isinstance(owner, mmap.mmap) and hasattr(owner, "madvise"):
        owner.madvise(mmap.MADV_DONTNEED)


def _in_a_file(held: list[np.ndarray], coming: Iterator[np.ndarray], dtype: np.dtype) -> np.ndarray:
    folder = _folder()
    with ExitStack() as stack:
        with _told(folder):
            file = stack.enter_context(tempfile.TemporaryFile(dir=folder))
        for stretch in chain(_emptied(held), coming):
            with _told(folder):
                file.write(np.ascontiguousarray(stretch, dtype).data)
        with _told(folder):
            file.flush()
            return np.memmap(file, dtype, "r")


def _emptied(held: list[np.ndarray]) -> Iterator[np.ndarray]:
    while held:
        yield held.pop(0)


@contextmanager
def _told(folder: Path | None) -> Iterator[None]:
    """An error of the disk inside is a refusal."""
    try:
        yield
    except OSError as error:
        where = folder or tempfile.gettempdir()
        raise Refusal(
            f"{where}: no index of the rows can be kept there ({error.strerror}); ACCORDA_CACHE names another folder"
        ) from None


def _folder() -> Path | None:
    """Where tokens are kept, or the system's own place for files that do not last."""
    with suppress(Refusal):
        return store_root()
    return None
