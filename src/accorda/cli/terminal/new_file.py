"""A file that a verb is asked to write."""

from pathlib import Path

from accorda.errors import Refusal


def new_file(name: str) -> Path:
    """Where `--output` goes; asked before any work is done.

    Raises:
        Refusal: something is there, or there is no such folder.
    """
    path = Path(name)
    if path.exists():
        raise Refusal(f"--output {path}: exists already and is never replaced; choose another name")
    if not path.absolute().parent.is_dir():
        raise Refusal(f"--output {path}: no folder {path.parent}")
    return path
