"""What stands beside a path that does not exist, and was probably meant."""

import difflib
from collections.abc import Callable
from pathlib import Path


def near(path: Path, wanted: Callable[[Path], bool] = Path.is_dir, most: int = 3) -> str:
    """The paths there under nearly that name, the nearest first, as text; nothing where there is none."""
    here = path.parent if path.parent.is_dir() else Path()
    try:
        names = [each.name for each in here.iterdir() if wanted(each)]
    except OSError:  # a folder that may not be looked into
        return ""
    return ", ".join(str(here / name) for name in difflib.get_close_matches(path.name, names, n=most))
