"""What of the runs in a folder could go: checkpoints of complete runs, and runs that nobody went on with."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from accorda.runs.layout import RunFolder
from accorda.runs.lineage import Listed

DAY = 86_400.0


@dataclass(frozen=True, kw_only=True)
class Waste:
    """A folder that could be deleted, what it is, and what that would free."""

    path: Path
    what: str
    bytes: int


def waste(found: Sequence[Listed], days: int, now: float) -> list[Waste]:
    """All of it: unfinished runs in which nothing happened for so many days, unless a run that stays came out of them.

    `now` is in seconds since 1970, as files' times are.
    """
    old = {id(run): run for run in found if run.status == "unfinished" and now - last_change(run.path) > days * DAY}
    while True:
        kept = [run for run in found if id(run) not in old]
        needed = [key for key, run in old.items() if any(comes_from(other, run.path) for other in kept)]
        if not needed:
            break
        for key in needed:
            del old[key]
    complete = [RunFolder(run.path).checkpoints for run in found if run.status != "unfinished"]
    return [
        *(
            Waste(path=path, what="checkpoints of a complete run", bytes=size(path))
            for path in complete
            if path.is_dir()
        ),
        *(
            Waste(
                path=run.path,
                what=f"unfinished for {(now - last_change(run.path)) / DAY:.0f} days",
                bytes=size(run.path),
            )
            for run in old.values()
        ),
    ]


def remove(items: Sequence[Waste]) -> None:
    """Delete them. Each is renamed first, so that none is ever seen half there."""
    for item in items:
        aside = item.path.with_name(f".{item.path.name}.deleted")
        shutil.rmtree(aside, ignore_errors=True)
        os.rename(item.path, aside)
        shutil.rmtree(aside)


def comes_from(run: Listed, place: Path) -> bool:
    """Whether the run's parents lie in a folder."""
    whole = place.resolve()
    return any(parent.resolve().is_relative_to(whole) for parent in run.parents)


def last_change(run: Path) -> float:
    """When something was last written in a run, in seconds since 1970."""
    folder = RunFolder(run)
    places = [folder.recipe, folder.events, folder.result, *folder.checkpoints.glob("step-*")]
    return max((place.stat().st_mtime for place in places if place.exists()), default=0.0)


def size(folder: Path) -> int:
    """Bytes of all files at or below a folder; links are not followed."""
    files = (Path(place, name) for place, _, names in os.walk(folder) for name in names)
    return sum(file.lstat().st_size for file in files)
