"""What a run folder tells, read once for the card and the report: whatever of it is there."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from accorda.errors import Refusal
from accorda.runs.events import read
from accorda.runs.files import read_json
from accorda.runs.layout import RunFolder

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

    def setting(self, name: str, default: str = "") -> str:
        """A setting's value as written."""
        return next((item.value for item in self.settings if item.name == name), default)

    def series(self, kind: str, key: str) -> list[tuple[float, float]]:
        """(step, value) of every event of a kind that has a finite number under `key`."""
        points = [(event.get("step"), event.get(key)) for event in self.events if event.get("event") == kind]
        return [(float(step), float(value)) for step, value in points if is_number(step) and is_number(value)]


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
    )


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


def is_number(value: Any) -> TypeGuard[float]:
    """Whether an event's value can be drawn."""
    return isinstance(value, int | float) and not isinstance(value, bool)
