"""Whether a place can be written to: tried before any work is done, with nothing left behind."""

import errno
import os
import tempfile
from pathlib import Path

from accorda.errors import Refusal

ASIDE = len("..new")  # what the name of a file or folder has more while it is written
LONGEST_SHOWN = 80


def require_writable(path: str | os.PathLike[str], at: str) -> None:
    """Refuse a file or folder that cannot be written there.

    Permissions alone do not tell: to the superuser every folder seems open, one of the kernel's or on a read-only disk
    too. So a folder is made in it, where it is one, and beside it, and removed. `at`: the setting, as the refusal
    begins: `--output`, `output =`.

    Raises:
        Refusal: a folder that takes nothing, a file in the place of a folder, a name too long.
    """
    told, place = f"{at} {shortened(str(path))}", Path(path).absolute()
    ground = place.parent
    try:
        ground = there = next(parent for parent in place.parents if os.path.lexists(parent))
        require_short(place, there, told)
        for ground in (place, there) if place.is_dir() else (there,):
            with tempfile.TemporaryDirectory(prefix=".accorda-", dir=ground):
                pass
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise Refusal(f"{told}: {str(error.strerror).lower()}; choose a shorter one") from error
        # the kernel says of its own folders that what would be made in them does not exist
        why = "" if error.errno in (None, errno.ENOENT) else f" ({str(error.strerror).lower()})"
        raise Refusal(f"{told}: {ground} cannot be written to{why}; choose another place") from error


def require_short(place: Path, ground: Path, told: str) -> None:
    """Refuse a path with a name that the disk does not take."""
    most = (os.pathconf(ground, "PC_NAME_MAX") if hasattr(os, "pathconf") else 255) - ASIDE
    for name in place.relative_to(ground).parts:
        if (number := len(os.fsencode(name))) > most:
            raise Refusal(
                f"{told}: file name too long: {number} bytes, where {most} are possible; choose a shorter one"
            )


def shortened(text: str) -> str:
    """The text as it is read in a line."""
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 3]}..."
