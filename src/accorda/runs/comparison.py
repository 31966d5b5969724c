"""Complete runs side by side: quality with intervals, parameters, time, memory. Reads without torch."""

import json
import math
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from accorda.errors import Refusal
from accorda.runs.layout import RunFolder
from accorda.runs.story import Story, tell
from accorda.runs.sweep import SweepFolder, held_out, held_out_hash, measured, num_held_out

NUMBERS = ("method", "status", "steps", "train_seconds", "trainable_parameters", "peak_memory_bytes")


def compare(paths: Sequence[Path]) -> dict[str, Any]:
    """What `accorda compare --json` prints; the first run is the baseline. A sweep's folder stands for its runs.

    Keys: "baseline", "broken" (files that cannot be read), "losses_alike" (all mean the same), "metrics" (names),
    "held_out" ("rows", "same": whether all runs were measured on the same ones), and "runs", each with its numbers,
    "kept_parameters", "held_out_rows", and per metric "value", "low", "high", the "difference" from the baseline (None
    where that was measured on other rows, and of the losses of other stages or algorithms) and "apart", whether the two
    intervals have nothing in common (None where there is no difference, or one has no interval).

    Raises:
        Refusal: a path holds no complete run; fewer than two runs.
    """
    stories = [complete(path) for given in paths for path in expanded(given)]
    if len(stories) < 2:
        raise Refusal("compare: name at least two runs, or the folder of a sweep")
    names = named([story.folder.path for story in stories])
    rows = [row(name, story, stories[0]) for name, story in zip(names, stories, strict=True)]
    return {
        "baseline": names[0],
        "metrics": list(dict.fromkeys(metric for story in stories for metric in story.metrics())),
        "held_out": held_out(stories),
        "runs": rows,
        "losses_alike": len({loss_of(story) for story in stories}) == 1,
        "broken": [file for story in stories for file in story.broken],
    }


def expanded(path: Path) -> list[Path]:
    """The run itself, or every run of a sweep in its order."""
    folder = SweepFolder(path)
    if not folder.is_sweep():
        return [path]
    return [path / str(run["run"]) for run in folder.read().get("runs", []) if (path / str(run["run"])).is_dir()]


def complete(path: Path) -> Story:
    """What a complete run tells.

    Raises:
        Refusal: there is none.
    """
    folder = RunFolder(path)
    if not folder.is_run():
        raise Refusal(f"{path}: no run here (a run folder holds recipe.yaml); list them with: accorda runs")
    if not folder.is_complete():
        raise Refusal(f"{path}: this run is unfinished; finish it with: accorda resume {path}")
    return tell(path)


def named(paths: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that tell them apart."""
    absolute = [path.absolute() for path in paths]
    for length in range(1, max(len(path.parts) for path in absolute) + 1):
        names = ["/".join(path.parts[-length:]) for path in absolute]
        if len(set(names)) == len(set(absolute)):
            return names
    return [str(path) for path in absolute]


def row(name: str, story: Story, baseline: Story) -> dict[str, Any]:
    """One run beside the baseline, where both were measured on the same rows."""
    same = held_out_hash(story) is not None and held_out_hash(story) == held_out_hash(baseline)
    alike = loss_of(story) == loss_of(baseline)
    base = measured(baseline.chosen()) if same else {}
    base = {metric: one for metric, one in base.items() if alike or metric != "eval_loss"}
    metrics = {metric: beside(found, base.get(metric)) for metric, found in measured(story.chosen()).items()}
    return {
        "run": name,
        "path": str(story.folder.path),
        **{number: story.result.get(number) for number in NUMBERS},
        "kept_parameters": kept(story.folder),
        "held_out_rows": num_held_out(story),
        "metrics": metrics,
    }


def loss_of(story: Story) -> tuple[str, str]:
    """What a run's loss is called: its stage and, where that has several, its algorithm, whatever its settings."""
    return story.setting("stage"), story.setting("algorithm.name")


def beside(found: Mapping[str, float | None], base: Mapping[str, float | None] | None) -> dict[str, Any]:
    """A metric with what separates it from the baseline's."""
    value, low, high = found["value"], found["low"], found["high"]
    if base is None or value is None or base["value"] is None:
        return {**found, "difference": None, "apart": None}
    bounds = (low, high, base["low"], base["high"])
    known = all(bound is not None for bound in bounds)
    apart = (low or 0.0) > (base["high"] or 0.0) or (high or 0.0) < (base["low"] or 0.0) if known else None
    return {**found, "difference": value - base["value"], "apart": apart}


def kept(folder: RunFolder) -> int | None:
    """Numbers in the files of the result: what has to be stored per task. None where they cannot be read."""
    files = [*folder.adapter.glob("*.safetensors"), *folder.model.glob("*.safetensors")]
    counts = [numbers_in(file) for file in files]
    known = [count for count in counts if count is not None]
    return sum(known) if known and len(known) == len(counts) else None


def numbers_in(file: Path) -> int | None:
    """Numbers in a safetensors file, by its header: eight bytes of length, then JSON."""
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            header = json.loads(stream.read(length))
        return sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")
    except (OSError, ValueError, struct.error, KeyError, TypeError):
        return None
