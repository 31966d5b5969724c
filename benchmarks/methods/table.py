"""What the runs found becomes the table that `learning_rate: auto` reads.

A rate is measured where the method learned something at it: at stage `sft` where the loss fell by a hundredth of the
base's or more; at stage `classify` where the accuracy on dev is above the linear probe's, which tunes nothing. Of
other methods the table keeps no rate but the reason, under `unlearned`.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.methods import cells, grid, long
from benchmarks.methods.runs import ROWS, Stage

TABLE = Path(__file__).resolve().parents[2] / "src" / "accorda" / "recipe" / "learning_rates.json"
SIZES: dict[Stage, str] = {"sft": "small", "classify": "middle"}
"""Which size of models the runs of a stage speak for."""
BUNDLED = f"the bundled model, {ROWS['sft']} rows of bundled:tickets, one epoch"
MINILM = f"MiniLM (22M), {long.ROWS:,} sentences of SST-2, {long.EPOCHS} epochs"
LEAST_FALL = 0.01
"""The share of the base's loss by which a method must have lowered it."""

Found = dict[str, dict[str, dict[str, Any]]]
"""Under "rates" and "unlearned": what the table says of each method."""


def found_at_sft(short: Sequence[dict[str, Any]], base: float) -> Found:
    """The rate of the lowest loss of each method with at least three cells, and how it was found."""
    found: Found = {"rates": {}, "unlearned": {}}
    for method in sorted({cell["method"] for cell in short}):
        losses = cells.losses(list(short), method)
        if len(losses) < grid.FEWEST_RATES:
            continue
        day = last_day(short, method)
        if min(losses.values()) > (1 - LEAST_FALL) * base:
            why = f"at none of {len(losses)} rates did it lower the loss of {BUNDLED}, {day}"
            found["unlearned"][method] = {"why": why}
            continue
        how = "at the edge of the" if grid.at_edge(losses) else "the lowest loss of"
        found["rates"][method] = {"rate": grid.best(losses), "origin": f"{how} {len(losses)} rates on {BUNDLED}, {day}"}
    return found


def found_at_classify(short: Sequence[dict[str, Any]], runs: Sequence[dict[str, Any]]) -> Found:
    """The rate of the highest accuracy on dev of each method whose long runs are done, and how it was found."""
    found: Found = {"rates": {}, "unlearned": {}}
    probe = [cell["accuracy"] for cell in runs if cell["method"] == long.PROBE]
    for method in sorted({cell["method"] for cell in short}):
        rate = long.chosen(method, short, runs)
        if rate is None or not probe:
            continue
        accuracies, day = long.accuracies(method, short, runs), last_day(runs, method)
        if accuracies[rate] <= probe[0]:
            why = f"at none of {len(accuracies)} rates did it do better than a linear probe on {MINILM}, {day}"
            found["unlearned"][method] = {"why": why}
            continue
        seeds = len(long.seeds(method))
        mean = f", the mean of {seeds} seeds" if seeds > 1 else ""
        edges = {min(accuracies): ", the lowest of them", max(accuracies): ", the highest of them"}
        origin = f"the best on dev of {len(accuracies)} rates{mean}{edges.get(rate, '')}, on {MINILM}, {day}"
        found["rates"][method] = {"rate": rate, "origin": origin}
    return found


def last_day(found: Sequence[dict[str, Any]], method: str) -> str:
    """The date of a method's latest cell."""
    return max(cell["date"] for cell in found if cell["method"] == method)


def measured() -> dict[Stage, Found]:
    """What the committed cells say, by stage."""
    base = cells.one(cells.BASE)["eval_loss"]
    return {
        "sft": found_at_sft(cells.read(cells.RESULTS / "sft"), base),
        "classify": found_at_classify(long.short_cells(), long.long_cells()),
    }


def put(whole: dict[str, Any], stage: Stage, found: Found) -> None:
    """Into the table: what was found of a method replaces all that stood there of it; other entries stay."""
    new = {method for part in found.values() for method in part}
    for part, entries in found.items():
        stages = whole[SIZES[stage]].setdefault(part, {})
        kept = {method: entry for method, entry in stages.get(stage, {}).items() if method not in new}
        stages[stage] = dict(sorted((kept | entries).items()))


def write() -> dict[Stage, Found]:
    """Put what was measured into the committed table."""
    whole, found = json.loads(TABLE.read_text(encoding="utf-8")), measured()
    for stage, each in found.items():
        put(whole, stage, each)
    cells.write_text(TABLE, json.dumps(whole, indent=2) + "\n")
    return found
