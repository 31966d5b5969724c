"""Several runs that differ in some settings: planned and checked together, trained one after the other, compared.

All of them are evaluated on the same held-out rows. A sweep that was killed goes on where it was: complete runs stay,
an unfinished one is resumed.
"""

import gc
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from accorda.data.apart import as_lines, divided, rows_of
from accorda.errors import Refusal, Stopped
from accorda.methods.registry import methods
from accorda.recipe.grid import Axis, Cell, axes, cells
from accorda.recipe.layers import copied, leaves, put
from accorda.recipe.load import load, merged, merged_keywords
from accorda.recipe.reader import hints
from accorda.recipe.words import shown
from accorda.runs.crash import inside
from accorda.runs.files import write_text
from accorda.runs.layout import RunFolder, default_output
from accorda.runs.replace import replaced
from accorda.runs.sweep import Planned, SweepFolder, summary
from accorda.runs.sweep_picture import draw
from accorda.stages.train import Run, Watch, plain_method, resume, train
from accorda.stages.tune import read_method
from accorda.training.optimizers.registry import optimizers
from accorda.training.optimizers.registry import read as read_optimizer

SPLITS = ("train", "eval")
DONE = ("complete", "unproven")
SPLITTING = ("data.", "training.seed")
"""Settings that decide which rows a run would hold out by itself."""
SHOWN = ("method", "rows", "eval_rows", "steps", "trainable_parameters")
"""What a dry run tells of every run."""
UNCHECKED = ("training.seed", "training.learning_rate", "training.weight_decay", "training.max_grad_norm")
"""Numbers whose range the recipe has checked, and that nothing before the first step depends on."""
Values = dict[str, Any]
Origins = dict[str, str]
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Sweep:
    """What a sweep came to: its folder (None after a dry run) and the record that `sweep.json` and `--json` hold."""

    folder: SweepFolder | None
    result: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A sweep before its runs: the settings with their lists, what varies, and the recipe of every run.

    asked: the settings as somebody gave them, hashed: what makes it the same sweep.
    """

    values: Values
    origins: Origins
    axes: list[Axis]
    cells: list[Cell]
    folder: SweepFolder
    asked: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """All that `accorda resume` needs."""
        return {"settings": self.values, "origins": self.origins, "asked": self.asked}


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


def varying(values: Values, origins: Origins) -> list[str]:
    """The settings that have several values; none where it is a single run."""
    return [axis.name for axis in axes(values, origins, types_of)]


def planned(values: Values, origins: Origins, folder: SweepFolder, asked: dict[str, str] | None = None) -> Plan:
    """Every recipe of the sweep, read.

    Raises:
        Refusal: nothing varies; a value that its setting does not take.
    """
    found = axes(values, origins, types_of)
    if not found:
        raise Refusal("nothing varies: give a setting several values, for example data.limit=[125,250,500]")
    made = cells(values, origins, found, str(folder.path))
    asked = comparable(values) if asked is None else asked
    return Plan(values=values, origins=origins, axes=found, cells=made, folder=folder, asked=asked)


def place(values: Values, origins: Origins) -> SweepFolder:
    """Where the runs go."""
    output = values.get("output")
    if output is not None and not isinstance(output, str | PathLike):
        raise Refusal(f"output = {shown(output)}: name one folder; every run gets one of its own in it")
    names = [name.removesuffix(".name").rpartition(".")[2] for name in varying(values, origins)]
    return SweepFolder(output or default_output("sweep", "-".join(names) or "none"))


def restored(folder: SweepFolder, stored: Mapping[str, Any]) -> Plan:
    """The plan as `sweep.json` holds it, for the folder where it lies now."""
    plan = stored["plan"]
    made = planned(dict(plan["settings"]), dict(plan["origins"]), folder, plan.get("asked"))
    return reading(
        made, str(folder.path), [f"{split}.jsonl" for split in SPLITS if (folder.path / f"{split}.jsonl").is_file()]
    )


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


def comparable(values: Values) -> dict[str, str]:
    """A hash of every setting that was asked for, but for where the runs go."""
    found = {name: json.dumps(value, sort_keys=True, default=str) for name, value in leaves(values)}
    return {name: sha256(text.encode()).hexdigest()[:16] for name, text in found.items() if name != "output"}


def types_of(name: str, values: Mapping[str, Any]) -> list[Any]:
    """The types that a setting of a method or an optimizer has in the classes that are named for it."""
    section, _, last = name.rpartition(".")
    known = {"method": methods, "training.optimizer": optimizers}.get(section)
    if known is None:
        return [str] if section == "data.columns" else []
    if last == "name":
        return [str]
    place: Any = values
    for part in section.split("."):
        place = place.get(part) or {}
    named = place.get("name", "lora" if section == "method" else "adamw")
    classes = [known().get(item) for item in (named if isinstance(named, list | tuple) else [named])]
    return [hints(cls)[last] for cls in classes if cls is not None and last in hints(cls)]


def with_same_rows(plan: Plan, place: str) -> tuple[Plan, dict[str, str]]:
    """The plan over rows that all runs share, written to `place`, and the texts of those files by name."""
    files = shared_rows(plan)
    for name, text in files.items():
        write_text(Path(place) / name, text)
    return reading(plan, place, files), files


def shared_rows(plan: Plan) -> dict[str, str]:
    """Files for rows that came from Python, and for rows divided once where every run would hold out others."""
    recipe = plan.cells[0].recipe
    section, files = recipe.data, dict[str, str]()
    varying = [axis.name for axis in plan.axes]
    if any(name in ("data.train", "data.eval", "data.eval_split") for name in varying):
        if section.eval is None or "data.eval" in varying:
            raise Refusal(f"{varying[0]}: runs over other rows need the same held-out ones; name them with --eval-data")
        return files
    recipe.require("data.train", "name the training rows with --data")
    if section.eval is None and section.eval_split > 0 and any(name.startswith(SPLITTING) for name in varying):
        if recipe.stage == "pretrain":
            raise Refusal(f"{varying[0]}: runs over other rows need the same held-out ones; name them with --eval-data")
        limits = [cell.recipe.data.limit for cell in plan.cells]
        most = None if None in limits else max(limit for limit in limits if limit is not None)
        train_rows, held_rows = divided(section, recipe.training.seed, most)
        return {"train.jsonl": as_lines(train_rows), "eval.jsonl": as_lines(held_rows)}
    return {f"{split}.jsonl": as_lines(rows_of(section, split)) for split in SPLITS if section.rows(split) is not None}


def reading(plan: Plan, place: str, files: Collection[str]) -> Plan:
    """The plan with the rows of those files."""
    values, origins = copied(plan.values), dict(plan.origins)
    if not isinstance(values.get("data"), dict):
        values["data"] = {}
    for split in SPLITS:
        if f"{split}.jsonl" in files:
            put(values, origins, ["data", split], f"{place}/{split}.jsonl", "the same rows for every run of the sweep")
    return planned(values, origins, plan.folder, plan.asked)


def unlike(planned_cells: Sequence[Cell]) -> list[Cell]:
    """Of the runs that differ only in numbers that no check depends on, one each."""
    found: dict[str, Cell] = {}
    for cell in planned_cells:
        found.setdefault(repr({name: value for name, value in cell.values.items() if name not in UNCHECKED}), cell)
    return list(found.values())


def checked(planned_cells: Sequence[Cell], tell: Tell) -> list[dict[str, Any]]:
    """Everything up to the first step of every run.

    Raises:
        Refusal: the first run that is refused, with its name.
    """
    for cell in planned_cells:
        with named(cell):
            read_method(cell.recipe)
            read_optimizer(cell.recipe.training.optimizer, origins=cell.recipe.origins)
    found = []
    for cell in planned_cells:
        tell(f"checking {cell.name}")
        with named(cell):
            report = train(cell.recipe, dry_run=True).result
        found.append(
            {
                "run": cell.name,
                "values": cell.values,
                **{name: report[name] for name in SHOWN},
                "bill": report["bill"]["total"],
            }
        )
        gc.collect()
    return found


@contextmanager
def named(cell: Cell) -> Iterator[None]:
    """What is refused inside says which run it is of."""
    try:
        yield
    except Refusal as error:
        raise Refusal(f"{cell.name}: {error}") from error


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


def described(found: Sequence[Axis]) -> list[dict[str, Any]]:
    """The settings that vary, for JSON."""
    return json.loads(json.dumps([{"setting": axis.name, "values": list(axis.values)} for axis in found]))
