"""What a run folder tells, read once for the card and the report: whatever of it is there."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from accorda.errors import Refusal
from accorda.runs.events import read
from accorda.runs.files import read_json
from accorda.runs.layout import RunFolder

NO_METRICS = {"event", "step", "seconds"}
LINE = re.compile(r"( *)([^\s#][^:]*): ?(?:(.*)  # (.*))?")


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One line of `recipe.yaml`: dotted name, value as written, where it came from."""

    name: str
    value: str
    origin: str


@dataclass(frozen=True, kw_only=True)
class Story:
    """The parts of a run folder; empty where a part is not there."""

    folder: RunFolder
    settings: list[Setting]
    events: list[dict[str, Any]]
    result: dict[str, Any]
    proofs: list[dict[str, Any]]
    environment: dict[str, Any]
    data: dict[str, Any] = field(default_factory=dict)
    samples: dict[str, Any] = field(default_factory=dict)
    broken: tuple[str, ...] = ()
    """Files that are there and cannot be read: what they hold is missing here, and nobody left it out."""

    def setting(self, name: str, default: str = "") -> str:
        """A setting's value as written."""
        return next((item.value for item in self.settings if item.name == name), default)

    @property
    def base(self) -> str:
        """What training began from: the model's name, or "random weights" of a config."""
        known = [self.setting(name, "null") for name in ("model.config", "model.path")]
        return "random weights" if known[0] != "null" or known[1] == "null" else known[1]

    def rows_of(self, split: str) -> dict[str, Any]:
        """What became of the rows of `train` or `eval`; empty where nothing is known."""
        found = self.data.get(split)
        return found if isinstance(found, dict) else {}

    def series(self, kind: str, key: str) -> list[tuple[float, float]]:
        """(step, value) of every event of a kind that has a finite number under `key`."""
        points = [(event.get("step"), event.get(key)) for event in self.events if event.get("event") == kind]
        return [(float(step), float(value)) for step, value in points if is_number(step) and is_number(value)]

    def evaluations(self) -> list[dict[str, Any]]:
        """The evaluations in the order of their steps."""
        found = [event for event in self.events if event.get("event") == "evaluation" and is_number(event.get("step"))]
        return sorted(found, key=lambda event: event["step"])

    def metrics(self) -> list[str]:
        """The names of what the evaluations measured."""
        known = {key: None for event in self.evaluations() for key, value in event.items() if is_number(value)}
        return [key for key in known if key not in NO_METRICS]

    def chosen(self) -> dict[str, Any]:
        """The evaluation of the parameters that are the run's result, or the last one so far."""
        found = self.evaluations()
        best = [event.get("step") for event in self.events if event.get("event") == "best"]
        return next((event for event in found if best and event["step"] == best[-1]), found[-1] if found else {})

    def stopped(self) -> str:
        """Why the run stopped, where it did and has not gone on."""
        if self.result:
            return ""
        last = [event for event in self.events if event.get("event") in ("stopped", "resumed", "step")]
        return str(last[-1].get("reason", "")) if last and last[-1]["event"] == "stopped" else ""


def interval(evaluation: Mapping[str, Any], name: str) -> tuple[float, float] | None:
    """The 95% interval of a metric of an evaluation, where the log has it."""
    bounds = (evaluation.get("intervals") or {}).get(name)
    if isinstance(bounds, list) and len(bounds) == 2 and all(is_number(bound) for bound in bounds):
        return float(bounds[0]), float(bounds[1])
    return None


def tell(path: str | Path, result: Mapping[str, Any] | None = None) -> Story:
    """Read a run folder, finished or not; `result` where its result.json is still to be written, last of all."""
    folder = RunFolder(path)
    proof = read_json(folder.proof) or {}
    try:
        events = read(folder.events)
    except Refusal:  # a damaged log is no reason to show nothing of the rest
        events = []
    return Story(
        folder=folder,
        settings=settings(folder.recipe),
        events=events,
        result=dict(result or read_json(folder.result) or {}),
        proofs=[item for item in proof.get("proofs") or () if isinstance(item, dict)],
        environment=read_json(folder.environment) or {},
        data=read_json(folder.data) or {},
        samples=read_json(folder.samples) or {},
        broken=tuple(map(str, broken(folder))),
    )


def broken(folder: RunFolder) -> list[Path]:
    """The files of a run that are there and are none that a run writes."""
    files = (folder.result, folder.environment, folder.data, folder.proof, folder.samples)
    found = [file for file in files if file.is_file() and read_json(file) is None]
    return [folder.recipe, *found] if folder.recipe.is_file() and not settings(folder.recipe) else found


def told_broken(files: Iterable[str]) -> list[str]:
    """A line for each."""
    return [f"! {file}: broken, so what it holds is missing here; take it from a copy of the run" for file in files]


def settings(recipe: Path) -> list[Setting]:
    """The lines of a `recipe.yaml` that a run wrote, one setting each."""
    if not recipe.is_file():
        return []
    found, path = [], []
    for row in recipe.read_text(encoding="utf-8", errors="replace").splitlines():
        match = LINE.fullmatch(row)
        if match:
            depth = len(match[1]) // 2
            path = [*path[:depth], match[2].strip('"')]
            if match[3] is not None:
                found.append(Setting(name=".".join(path), value=match[3].strip('"'), origin=match[4]))
    return found


def is_number(value: object) -> TypeGuard[float]:
    """Whether an event's value can be drawn."""
    return isinstance(value, int | float) and not isinstance(value, bool)
