"""A folder that changes as a whole: written aside, synced, renamed. Who looks sees the old one or the new one."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replaced(folder: str | Path) -> Iterator[Path]:
    """An empty folder to write into; it takes the place of `folder` when the block ends without an exception.

    Files and folders are synced to disk before the renames. A folder that cannot be put in place, or a block that
    raises, leaves the old one as it was and nothing beside it.
    """
    folder = Path(folder).absolute()
    recover(folder)
    new = _beside(folder, "new")
    shutil.rmtree(new, ignore_errors=True)  # what a killed process left
    try:
        new.mkdir(parents=True)
        yield new
        _sync(new)
        _swap(new, folder)
    except OSError as error:
        named_as_asked(error, new, folder)
        raise
    finally:
        shutil.rmtree(new, ignore_errors=True)


def recover(folder: str | Path) -> None:
    """Put the old folder back where a process was killed between the two renames of a replacement."""
    folder = Path(folder).absolute()
    old = _beside(folder, "old")
    if old.is_dir() and not folder.exists():
        os.rename(old, folder)


def named_as_asked(error: OSError, aside: Path, path: Path) -> None:
    """Have the error name what was asked for, not the name under which it is written."""
    if error.filename == str(aside):
        error.filename = str(path)


def sync(path: Path) -> None:
    """Have the system write a file, or a folder's entries, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _swap(new: Path, folder: Path) -> None:
    if not folder.exists():
        os.rename(new, folder)
    else:
        old = _beside(folder, "old")
        shutil.rmtree(old, ignore_errors=True)
        os.rename(folder, old)
        try:
            os.rename(new, folder)
        except OSError:
            os.rename(old, folder)
            raise
        shutil.rmtree(old, ignore_errors=True)
    sync(folder.parent)


def _sync(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        sync(path)


def _beside(folder: Path, what: str) -> Path:
    return folder.parent / f".{folder.name}.{what}"
