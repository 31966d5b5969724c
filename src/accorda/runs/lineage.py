"""The runs in a folder and which came out of which."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accorda.runs.files import read_json
from accorda.runs.layout import RunFolder
from accorda.runs.story import settings


@dataclass(frozen=True, kw_only=True)
class Listed:
    """One run in a list: its folder, `complete` or `unfinished`, what it says of itself, the runs it came out of."""

    path: Path
    status: str
    result: dict[str, Any]
    parents: tuple[Path, ...] = ()


def runs(folder: str | os.PathLike[str]) -> list[Listed]:
    """Every run at or below a folder, by path; a run's own inside is not searched.

    A folder of somebody's own that holds a recipe.yaml is none: a run has its environment.json from the beginning.
    """
    found, begun = [], {"recipe.yaml", "environment.json"}
    for path, folders, files in os.walk(folder):
        folders.sort()
        if begun & set(files) == begun:
            folders.clear()
            found.append(listed(Path(path)))
    return found


def listed(path: Path) -> Listed:
    """One run as its `result.json` and checkpoints tell it."""
    run = RunFolder(path)
    result = read_json(run.result) or {}
    named = result["parents"] if isinstance(result.get("parents"), list) else begun_from(run)
    parents = tuple(nearest(path, parent) for parent in named)
    if run.is_complete():
        return Listed(path=path, status=str(result.get("status", "complete")), result=result, parents=parents)
    steps = run.checkpoint_steps()
    return Listed(path=path, status="unfinished", result={"steps": steps[-1] if steps else 0}, parents=parents)


def begun_from(run: RunFolder) -> list[str]:
    """What an unfinished run names as its model and adapter, where that is here."""
    named = {item.name: item.value for item in settings(run.recipe)}
    found = (named.get(name) for name in ("model.path", "model.adapter"))
    return [value for value in found if value and nearest(run.path, value).exists()]


def nearest(run: Path, parent: str) -> Path:
    """A parent's folder: as recorded, or beside the run where both have been moved together."""
    recorded, beside = Path(parent), run.parent / Path(parent).name
    return recorded if recorded.exists() or not beside.exists() else beside


def tree(found: list[Listed]) -> list[tuple[int, Listed]]:
    """The runs with their depth, each below the run it came out of; every run once, whatever the parents say."""
    by_path = {entry.path.resolve(): entry for entry in found}
    above = {id(entry): parent_in(entry, by_path) for entry in found}
    rows: list[tuple[int, Listed]] = []
    seen: set[int] = set()

    def walk(entry: Listed, depth: int) -> None:
        if id(entry) not in seen:
            seen.add(id(entry))
            rows.append((depth, entry))
            for child in found:
                if above[id(child)] is entry:
                    walk(child, depth + 1)

    for entry in [entry for entry in found if above[id(entry)] is None] + found:  # the last for parents in a circle
        walk(entry, 0)
    return rows


def parent_in(entry: Listed, by_path: dict[Path, Listed]) -> Listed | None:
    """The first of a run's parents that is in the list."""
    known = (by_path.get(parent.resolve()) for parent in entry.parents)
    return next((parent for parent in known if parent is not None and parent is not entry), None)
