"""Which run an exception came out of, and the log that a fault of ours leaves there."""

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MARK = "accorda_run"


@contextmanager
def inside(run: str | os.PathLike[str]) -> Iterator[None]:
    """Mark exceptions that leave the block with the run folder they happened in; the innermost run counts."""
    try:
        yield
    except BaseException as error:
        error.__dict__.setdefault(MARK, Path(run))
        raise


def run_of(error: BaseException) -> Path | None:
    """The run folder an exception came out of, where there is one on disk."""
    run = error.__dict__.get(MARK)
    return run if isinstance(run, Path) and run.is_dir() else None


def write_crash_log(error: BaseException, arguments: list[str]) -> Path | None:
    """Append the traceback to `crash.log`, in the run folder or else here; None where neither can be written."""
    trace = "".join(traceback.format_exception(error))
    text = f"accorda {' '.join(arguments)}\npython {sys.version.split()[0]}\n{trace}\n"
    for folder in [run_of(error), Path()]:
        try:
            if folder is not None:
                with open(folder / "crash.log", "a", encoding="utf-8", errors="backslashreplace") as file:
                    file.write(text)
                return folder / "crash.log"
        except OSError:
            continue
    return None
