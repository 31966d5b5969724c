"""Several runs that differ in some settings: planned and checked together, trained one after the other, compared.

All of them are evaluated on the same held-out rows. A sweep that was killed goes on where it was: complete runs stay,
an unfinished one is resumed.
"""

import gc
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from accorda.errors import Refusal, Stopped
from accorda.recipe.grid import Cell
from accorda.recipe.load import load, merged, merged_keywords
from accorda.runs.crash import inside
from accorda.runs.files import write_text
from accorda.runs.layout import RunFolder
from accorda.runs.replace import replaced
from accorda.runs.sweep import Planned, SweepFolder, summary
from accorda.runs.sweep_picture import draw
from accorda.stages.sweep_plan import (
    Origins,
    Plan,
    Tell,
    Values,
    checked,
    comparable,
    described,
    place,
    planned,
    reading,
    restored,
    unlike,
    with_same_rows,
)
from accorda.stages.train import Run, Watch, plain_method, resume, train

DONE = ("complete", "unproven")


@dataclass(frozen=True)
class Sweep:
    """What a sweep came to: its folder (None after a dry run) and the record that `sweep.json` and `--json` hold."""

    folder: SweepFolder | None
    result: dict[str, Any]


def sweep(
    recipe: Any = None,
    *,
    dry_run: bool = False,
    watch: Watch | None = None,
    tell: Tell = lambda line: None,
    **keywords: Any,
) -> Sweep:
    """Train once for every combination of the settings that are given as lists, and compare.

    Args:
        recipe: a path or a mapping, as for `train`, or keyword arguments (`model=`, `data={"limit": [125, 250]}`).
        dry_run: check every run up to its first step, and write nothing.
        watch: as for `train`, for every run anew.
        tell: is handed a line when a run begins.
        **keywords: of `train`, where no recipe is given.

    Raises:
        Refusal: nothing varies, or one of the runs is refused; before anything is written.
        Stopped: the sweep can be resumed.
    """
    if recipe is not None and keywords:
        raise Refusal(f"{next(iter(keywords))}: give a recipe or keyword arguments, not both")
    if recipe is None:
        values, origins = merged_keywords(**plain_method(keywords))
    else:
        values, origins = merged(plain_method(recipe) if isinstance(recipe, Mapping) else recipe)
    return sweep_of(values, origins, dry_run=dry_run, watch=watch, tell=tell)


def sweep_of(
    values: Values,
    origins: Origins,
    *,
    dry_run: bool = False,
    watch: Watch | None = None,
    tell: Tell = lambda line: None,
) -> Sweep:
    """`sweep` of nested settings whose origins are known by dotted name."""
    folder = place(values, origins)
    plan = planned(values, origins, folder)
    if folder.is_sweep():
        return go_on(folder, plan, dry_run=dry_run, watch=watch, tell=tell)
    RunFolder(folder.path).refuse_unless_free()
    with TemporaryDirectory() as aside_folder:
        aside, files = with_same_rows(plan, aside_folder)
        checks = checked(aside.cells if dry_run else unlike(aside.cells), tell)
    if dry_run:
        return Sweep(None, {"status": "dry run", "axes": described(plan.axes), "runs": checks})
    with replaced(folder.path) as new:
        for name, text in files.items():
            write_text(new / name, text)
        plan = reading(plan, str(folder.path), files)
        SweepFolder(new).write({"plan": plan.to_dict(), **record(plan, {})})
    return run_all(plan, watch, tell)


def resume_sweep(path: str | Path, *, watch: Watch | None = None, tell: Tell = lambda line: None) -> Sweep:
    """Go on with a sweep that was stopped.

    Raises:
        Refusal: every run of it is complete.
    """
    folder = SweepFolder(path)
    stored = folder.read()
    if stored.get("status") in DONE:
        raise Refusal(f"{folder.path}: every run of the sweep is complete; nothing is left to resume")
    return run_all(restored(folder, stored), watch, tell)


def go_on(folder: SweepFolder, plan: Plan, *, dry_run: bool, watch: Watch | None, tell: Tell) -> Sweep:
    """The same command again: what is left of it. Another command for the same folder is refused."""
    stored = folder.read()
    asked, known = comparable(plan.values), stored["plan"].get("asked", {})
    if asked != known:
        other = next(name for name in {**known, **asked} if known.get(name) != asked.get(name))
        raise Refusal(f"output = {folder.path}: holds another sweep ({other} differs); choose another folder")
    if stored.get("status") in DONE:
        raise Refusal(f"output = {folder.path}: holds a complete sweep; choose another folder")
    if dry_run:
        raise Refusal(
            f"output = {folder.path}: holds an unfinished sweep; continue it with: accorda resume {folder.path}"
        )
    return run_all(restored(folder, stored), watch, tell)


def run_all(plan: Plan, watch: Watch | None, tell: Tell) -> Sweep:
    """Every run that is not complete, in order; what comes out is recorded after each."""
    stopped: dict[str, str] = {}
    threads: int | None = None
    with inside(plan.folder.path):
        for number, cell in enumerate(plan.cells, start=1):
            place = RunFolder(plan.folder.path / cell.name)
            if not place.is_complete():
                tell(f"run {number} of {len(plan.cells)}: {cell.name}")
                try:
                    run_one(cell, place, threads, watch)
                except Stopped as error:
                    if not error.own:
                        finished(plan, stopped)
                        raise Stopped(f"{cell.name}: {error.reason}", str(plan.folder.path)) from error
                    stopped[cell.name] = error.reason
                except KeyboardInterrupt:
                    raise Stopped(f"{cell.name}: interrupted", str(plan.folder.path)) from None
            threads = threads or settled_threads(place)
            finished(plan, stopped)
            gc.collect()
    return Sweep(plan.folder, plan.folder.read())


def run_one(cell: Cell, place: RunFolder, threads: int | None, watch: Watch | None) -> Run:
    """One run from its beginning or from where it was; on as many threads as the others, so that times compare."""
    if place.is_run():
        return resume(place, watch=watch)
    recipe = cell.recipe
    if threads is not None and recipe.training.threads == "auto":
        recipe = recipe.with_value("training.threads", threads, "auto: as in the first run of the sweep")
    return train(recipe, watch=watch)


def settled_threads(place: RunFolder) -> int | None:
    """The number of threads that a run had."""
    threads = load(place.recipe).training.threads if place.is_run() else None
    return threads if isinstance(threads, int) else None


def finished(plan: Plan, stopped: Mapping[str, str]) -> None:
    """Record and picture as they are now."""
    found = {"plan": plan.to_dict(), **record(plan, stopped)}
    draw(found, plan.folder.picture, plan.folder.bitmap)
    plan.folder.write(found)


def record(plan: Plan, stopped: Mapping[str, str]) -> dict[str, Any]:
    """What varies, and what came out so far."""
    runs = [Planned(name=cell.name, values=json.loads(json.dumps(cell.values))) for cell in plan.cells]
    return {"output": str(plan.folder.path), "axes": described(plan.axes), **summary(plan.folder, runs, stopped)}
