"""What `accorda verify` can look at, told from the names of files alone."""

from pathlib import Path
from typing import Any

from accorda.errors import Refusal
from accorda.runs.layout import RunFolder
from accorda.runs.near import near

SHOWN = 5


def require_verifiable(path: str | Path) -> None:
    """Refuse what is no folder, and a folder of runs, which are verified one by one."""
    folder = Path(path)
    if not folder.is_dir():
        found = near(folder)
        way_out = f"did you mean {found}?" if found else "list runs with: accorda runs"
        raise Refusal(f"{path}: no such folder; {way_out}")
    if RunFolder(folder).is_run() or any((folder / name).is_file() for name in ("config.json", "adapter_config.json")):
        return
    inside = [each for each in sorted(folder.iterdir()) if RunFolder(each).is_run()]
    if inside:
        more = f", ... ({len(inside)} in all)" if inside[SHOWN:] else ""
        names = ", ".join(map(str, inside[:SHOWN])) + more
        raise Refusal(f"{path}: a folder of runs and none itself; verify them one by one: {names}")


def require_own(run: RunFolder, base: Any, data: Any) -> None:
    """Refuse an unfinished run, and a base or rows beside one that has its own."""
    if not run.is_complete():
        raise Refusal(f"{run.path}: the run is not complete; continue it with: accorda resume {run.path}")
    if base is not None or data is not None:
        given = "base" if base is not None else "data"
        raise Refusal(f"{given} = {base or data}: the run {run.path} has its own; leave it out")
