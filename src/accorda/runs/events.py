"""The event log: one JSON object per line, only ever appended to. Whoever watches a run only reads it."""

import json
import os
from pathlib import Path
from typing import Any

from accorda.errors import Refusal
from accorda.runs.files import finite

PER_STEP = ("step", "evaluation")


class EventLog:
    """Appends to `events.jsonl`. A line that a killed process left half written is cut off before the first append."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._descriptor: int | None = None

    def append(self, event: dict[str, Any]) -> None:
        """Write one event; it has left the process when this returns."""
        line = json.dumps(finite(event), ensure_ascii=False, allow_nan=False) + "\n"
        if self._descriptor is None:
            cut_torn_line(self.path)
            self._descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        data = line.encode("utf-8")
        while data:
            data = data[os.write(self._descriptor, data) :]

    def sync(self) -> None:
        """Have the system write what was appended to disk: before a checkpoint counts as made."""
        if self._descriptor is not None:
            os.fsync(self._descriptor)

    def close(self) -> None:
        """Give the file back; the next `append` opens it again."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def cut_torn_line(path: Path) -> None:
    """Cut off what stands behind the last line end."""
    if path.exists():
        with open(path, "r+b") as file:
            data = file.read()
            file.truncate(data.rfind(b"\n") + 1)


def lines(path: str | Path) -> list[dict[str, Any]]:
    """Every event ever written, a torn last line dropped; empty where there is no log.

    Raises:
        Refusal: a line before the last that is no JSON object.
    """
    path = Path(path)
    if not path.exists():
        return []
    rows = path.read_bytes().split(b"\n")
    events = []
    for number, row in enumerate(rows, start=1):
        try:
            event = json.loads(row)
        except ValueError:
            event = None
        if isinstance(event, dict):
            events.append(event)
        elif any(rows[number:]):
            raise Refusal(f"{path}:{number}: not an event (a JSON object); the log is damaged")
    return events


def read(path: str | Path) -> list[dict[str, Any]]:
    """The events of the run as it went in the end: one per step and kind, without the steps that a resume took back."""
    kept: dict[tuple[Any, ...], dict[str, Any]] = {}
    for number, event in enumerate(lines(path)):
        kind, step = event.get("event"), event.get("step")
        if kind == "resumed":
            start = event.get("from") or 0
            kept = {key: old for key, old in kept.items() if key[0] not in PER_STEP or (old.get("step") or 0) <= start}
        key = (kind, step) if kind in PER_STEP else (kind, "line", number)
        kept[key] = event
    return list(kept.values())
