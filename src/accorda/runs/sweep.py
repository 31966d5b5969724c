"""The folder of a sweep: `sweep.json` with its settings and, run by run, what came out. Reads without torch."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accorda.errors import Refusal
from accorda.runs.files import read_json, write_json
from accorda.runs.layout import RunFolder
from accorda.runs.story import Story, interval, is_number, tell

NUMBERS = ("steps", "train_seconds", "trainable_parameters", "peak_memory_bytes", "tokens", "loss")
COMPLETE, UNPROVEN, STOPPED, WAITING = "complete", "unproven", "stopped", "waiting"


class SweepFolder:
    """The paths of a sweep; each run has a folder of its own in it."""

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        self.record = self.path / "sweep.json"
        self.picture = self.path / "sweep.svg"
        self.bitmap = self.path / "sweep.png"

    def is_sweep(self) -> bool:
        """Whether a sweep was begun here."""
        return self.record.is_file() and not RunFolder(self.path).is_run()

    def read(self) -> dict[str, Any]:
        """What `sweep.json` holds.

        Raises:
            Refusal: it is not there or cannot be read.
        """
        found = read_json(self.record)
        if not found or not isinstance(found.get("plan"), dict):
            raise Refusal(f"{self.record}: no record of a sweep; choose another folder")
        return found

    def write(self, record: Mapping[str, Any]) -> None:
        """Put the record in place."""
        write_json(self.record, record)


@dataclass(frozen=True, kw_only=True)
class Planned:
    """One run as planned: its folder's name and its values by setting."""

    name: str
    values: dict[str, Any]


def summary(folder: SweepFolder, planned: Sequence[Planned], stopped: Mapping[str, str]) -> dict[str, Any]:
    """What is known of the runs now; `stopped` has the reasons of those that cannot go on by themselves."""
    stories = {run.name: tell(folder.path / run.name) for run in planned}
    rows = [row(folder, run, stories[run.name], stopped.get(run.name, "")) for run in planned]
    begun = [story for story in stories.values() if story.evaluations()]
    return {
        "status": status(rows),
        "metrics": list(dict.fromkeys(name for story in begun for name in story.metrics())),
        "base": measured(begun[0].evaluations()[0]) if begun and begun[0].evaluations()[0]["step"] == 0 else {},
        "held_out": held_out(begun),
        "runs": rows,
    }


def status(rows: Sequence[Mapping[str, Any]]) -> str:
    """Of the sweep: complete when every run is; the worst of its runs otherwise."""
    found = [row["status"] for row in rows]
    return next((word for word in (STOPPED, WAITING, UNPROVEN) if word in found), COMPLETE)


def row(folder: SweepFolder, run: Planned, story: Story, reason: str) -> dict[str, Any]:
    """One run: its values, what it came to, its metrics with intervals."""
    result = story.result
    verdicts = list((result.get("proofs") or {}).values())
    return {
        "run": run.name,
        "output": str(folder.path / run.name),
        "values": run.values,
        "status": str(result.get("status", COMPLETE)) if result else STOPPED if reason else WAITING,
        "reason": reason or None,
        "rows": (result.get("rows") or {}).get("kept"),
        **{name: result.get(name) for name in NUMBERS},
        "metrics": measured(story.chosen()) if result else {},
        "proofs": {"holds": verdicts.count("holds"), "fails": verdicts.count("fails")} if result else None,
    }


def measured(evaluation: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
    """{metric: {"value", "low", "high"}} of an evaluation; bounds are None where the log has no interval."""
    found: dict[str, dict[str, float | None]] = {}
    for name, value in evaluation.items():
        if is_number(value) and name not in ("step", "event"):
            low, high = interval(evaluation, name) or (None, None)
            found[name] = {"value": value, "low": low, "high": high}
    return found


def held_out(stories: Sequence[Story]) -> dict[str, Any]:
    """How many rows the runs were evaluated on, and whether they were the very same ones."""
    hashes = {held_out_hash(story) for story in stories}
    kept = [num_held_out(story) for story in stories]
    return {"rows": kept[0] if kept else None, "same": len(hashes) == 1 and None not in hashes}


def held_out_hash(story: Story) -> str | None:
    """What identifies the rows that a run was evaluated on."""
    return (story.environment.get("data") or {}).get("eval")


def num_held_out(story: Story) -> int | None:
    """How many rows that were."""
    return (story.rows_of("eval").get("rows") or {}).get("kept")
