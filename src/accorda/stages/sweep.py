"""Several runs that differ in some settings: planned and checked together, trained over one base, compared.

Runs whose methods leave the base alone share one in memory and take turns, a step each; every one has its own adapter,
optimizer, random numbers, log and folder, and is the run it would be alone. All of them are evaluated on the same
held-out rows. A sweep that was killed goes on where it was: complete runs stay, unfinished ones are resumed.
"""

import gc
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypedDict

from accorda.errors import Refusal, Stopped
from accorda.recipe.grid import Cell
from accorda.recipe.load import load, merged, merged_keywords
from accorda.runs.crash import inside
from accorda.runs.files import write_text
from accorda.runs.layout import RunFolder
from accorda.runs.replace import replaced
from accorda.runs.sweep import Planned, SweepFolder, summary
from accorda.runs.sweep_picture import draw
from accorda.stages.resident import Resident, key, shares
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
from accorda.stages.sweep_watch import watched_together
from accorda.stages.train import Run, Watch, plain_method, resume_by_turns, train_by_turns
from accorda.stages.tune import read_method
from accorda.training.guard import Signals
from accorda.training.turns import Lane, Turns, take_turns

DONE = ("complete", "unproven")
MOST_TOGETHER = 8
"""Runs at a time over one base: each holds its adapter, its optimizer's states and its rows."""


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
    """Every run that is not complete, those over one base together; what comes out is recorded after each."""
    stopped: dict[str, str] = {}

    def over(name: str, reason: str) -> None:
        if reason:
            stopped[name] = reason
        tell(f"{name} stopped: {reason}" if reason else f"{name} is complete")
        finished(plan, stopped)

    threads = next((known for cell in plan.cells if (known := settled_threads(plan.at(cell)))), None)
    with inside(plan.folder.path):
        for cells in together([cell for cell in plan.cells if not plan.at(cell).is_complete()]):
            tell(f"training {', '.join(cell.name for cell in cells)}{' together' if cells[1:] else ''}")
            try:
                run_group(plan, cells, threads, watch, tell, over)
            except Stopped as error:
                finished(plan, stopped)
                raise Stopped(f"{name_of(plan, error)}: {error.reason}", str(plan.folder.path)) from error
            except KeyboardInterrupt:
                raise Stopped(f"{cells[0].name}: interrupted", str(plan.folder.path)) from None
            threads = threads or settled_threads(plan.at(cells[0]))
            gc.collect()
    finished(plan, stopped)
    return Sweep(plan.folder, plan.folder.read())


def together(cells: Sequence[Cell]) -> list[list[Cell]]:
    """The runs in groups that share a base, in order; a run whose method changes the base is one by itself."""
    groups: list[list[Cell]] = []
    open_groups: dict[str, list[Cell]] = {}
    for cell in cells:
        if not shares(read_method(cell.recipe)[0]):
            groups.append([cell])
            continue
        group = open_groups.get(key(cell.recipe))
        if group is None or len(group) == MOST_TOGETHER:
            group = open_groups[key(cell.recipe)] = []
            groups.append(group)
        group.append(cell)
    return groups


def run_group(
    plan: Plan,
    cells: Sequence[Cell],
    threads: int | None,
    watch: Watch | None,
    tell: Tell,
    over: Callable[[str, str], None],
) -> None:
    """Runs over one base, a step of each in turn."""
    resident, signals = Resident() if cells[1:] else None, Signals()
    watches = watched_together([cell.name for cell in cells], watch, tell)
    lanes = []
    for cell in cells:
        place, sees = plan.at(cell), watches[cell.name]
        turns = (
            resume_by_turns(place, watch=sees, resident=resident, signals=signals)
            if place.is_run()
            else begin(plan, cell, cells[0], threads, Shared(watch=sees, resident=resident, signals=signals))
        )
        lanes.append(Lane(cell.name, turns))
    take_turns(lanes, signals, over)


class Shared(TypedDict):
    """What runs that take turns have in common."""

    watch: Watch | None
    resident: Resident | None
    signals: Signals


def begin(plan: Plan, cell: Cell, first: Cell, threads: int | None, shared: Shared) -> Turns[Run]:
    """One run from its beginning, on as many threads as the others, so that times compare."""
    recipe, threads = cell.recipe, threads or settled_threads(plan.at(first))
    if threads is not None and recipe.training.threads == "auto":
        recipe = recipe.with_value("training.threads", threads, "auto: as in the first run of the sweep")
    return (yield from train_by_turns(recipe, **shared))


def name_of(plan: Plan, error: Stopped) -> str:
    """The run that was stopped."""
    return next((cell.name for cell in plan.cells if str(plan.at(cell).path) == error.run), Path(error.run).name)


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
