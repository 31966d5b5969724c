"""A file or folder that a verb is asked to write: looked at before any work is done."""

from pathlib import Path

from accorda.errors import Refusal
from accorda.runs.place import require_writable


def new_file(name: str) -> Path:
    """Where a file of `--output` goes.

    Raises:
        Refusal: something is there, there is no such folder, or it cannot be written to.
    """
    path = Path(name)
    require_writable(path, "--output")
    if path.exists():
        raise Refusal(f"--output {path}: exists already and is never replaced; choose another name")
    if not path.absolute().parent.is_dir():
        raise Refusal(f"--output {path}: no folder {path.parent}")
    return path


def new_folder(name: str) -> Path:
    """Where a folder of `--output` goes.

    Raises:
        Refusal: something is there, or nothing can be written there.
    """
    place = Path(name)
    require_writable(place, "--output")
    if place.exists():
        raise Refusal(f"--output {place}: exists already; choose a new folder")
    return place


def picture_file(name: str) -> Path:
    """Where `--picture` goes; one that is there is replaced.

    Raises:
        Refusal: there is no such folder, or it cannot be written to.
    """
    path = Path(name).expanduser()
    require_writable(path, "--picture =")
    if not path.absolute().parent.is_dir():
        raise Refusal(f"--picture = {path}: there is no folder {path.parent}")
    return path
