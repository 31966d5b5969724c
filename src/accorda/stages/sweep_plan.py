"""The plan of a sweep: every run's recipe, held-out rows that all of them share, and the checks before the first."""

import gc
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from os import PathLike
from pathlib import Path
from typing import Any

from accorda.data.apart import as_lines, divided, rows_of
from accorda.errors import Refusal
from accorda.methods.registry import methods
from accorda.recipe.grid import Axis, Cell, axes, cells
from accorda.recipe.layers import copied, leaves, put
from accorda.recipe.reader import hints
from accorda.recipe.words import shown
from accorda.runs.files import write_text
from accorda.runs.layout import RunFolder, default_output
from accorda.runs.sweep import SweepFolder
from accorda.stages.train import train
from accorda.stages.tune import read_method
from accorda.training.optimizers.registry import optimizers
from accorda.training.optimizers.registry import read as read_optimizer

SPLITS = ("train", "eval")
SPLITTING = ("data.", "training.seed")
"""Settings that decide which rows a run would hold out by itself."""
SHOWN = ("method", "rows", "eval_rows", "steps", "trainable_parameters")
"""What a dry run tells of every run."""
UNCHECKED = ("training.seed", "training.learning_rate", "training.weight_decay", "training.max_grad_norm")
"""Numbers whose range the recipe has checked, and that nothing before the first step depends on."""
Values = dict[str, Any]
Origins = dict[str, str]
Tell = Callable[[str], None]


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

    def at(self, cell: Cell) -> RunFolder:
        """Where a run goes."""
        return RunFolder(self.folder.path / cell.name)

    def to_dict(self) -> dict[str, Any]:
        """All that `accorda resume` needs."""
        return {"settings": self.values, "origins": self.origins, "asked": self.asked}


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


def comparable(values: Values) -> dict[str, str]:
    """A hash of every setting that was asked for, but for where the runs go."""
    found = {name: json.dumps(value, sort_keys=True, default=str) for name, value in leaves(values)}
    return {name: sha256(text.encode()).hexdigest()[:16] for name, text in found.items() if name != "output"}


def types_of(name: str, values: Mapping[str, Any]) -> list[Any]:
    """The types that a setting of a method or an optimizer has in the classes that are named for it."""
    section, _, last = name.rpartition(".")
    above, _, part = section.rpartition(".")
    if above == "method" and part in methods():  # one of several methods
        found = hints(methods()[part])
        return [found[last]] if last in found else []
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


def described(found: Sequence[Axis]) -> list[dict[str, Any]]:
    """The settings that vary, for JSON."""
    return json.loads(json.dumps([{"setting": axis.name, "values": list(axis.values)} for axis in found]))
