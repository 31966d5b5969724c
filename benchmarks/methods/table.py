"""What the sweeps found becomes the table that `learning_rate: auto` reads."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.methods import cells, grid
from benchmarks.methods.runs import ROWS, Stage

TABLE = Path(__file__).resolve().parents[2] / "src" / "accorda" / "recipe" / "learning_rates.json"
PLACES: dict[Stage, tuple[str, str]] = {  # which size of models the sweep speaks for, and what it was made on
    "sft": ("small", "the bundled model, {rows} rows of bundled:tickets"),
    "classify": ("middle", "MiniLM (22M), {rows} sentences of SST-2"),
}

BELOW = ("", "a third of the best, ", "a tenth of the best, ")


def entries(stage: Stage, found: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The best rate of each method with at least three cells, and how it was found."""
    methods = sorted({cell["method"] for cell in found})
    tried = {method: cells.losses(found, method) for method in methods}
    return {
        method: {
            "rate": grid.chosen(stage, method, losses),
            "origin": origin(stage, method, losses, last_day(found, method)),
        }
        for method, losses in tried.items()
        if len(losses) >= grid.FEWEST_RATES
    }


def origin(stage: Stage, method: str, losses: dict[float, float], day: str) -> str:
    """Where a rate is from: measured, or only the best of those tried."""
    where = PLACES[stage][1].format(rows=ROWS[stage])
    below = BELOW[grid.places_below(stage, method)]
    if grid.flat(losses):
        return f"{below}of {len(losses)} rates that made no difference on {where}, one epoch, {day}"
    if grid.at_edge(losses):
        return f"{below}at the edge of the {len(losses)} rates tried on {where}, one epoch, {day}"
    return f"{below}measured at {len(losses)} rates on {where}, one epoch, {day}"


def last_day(found: Sequence[dict[str, Any]], method: str) -> str:
    """The date of a method's latest cell."""
    return max(cell["date"] for cell in found if cell["method"] == method)


def write() -> dict[Stage, dict[str, dict[str, Any]]]:
    """Put what was measured into the committed table; other entries stay."""
    whole = json.loads(TABLE.read_text(encoding="utf-8"))
    put: dict[Stage, dict[str, dict[str, Any]]] = {}
    for stage, (size, _) in PLACES.items():
        put[stage] = entries(stage, cells.read(cells.RESULTS / stage))
        known = whole[size]["rates"].get(stage, {})
        whole[size]["rates"][stage] = dict(sorted((known | put[stage]).items()))
    aside = TABLE.with_suffix(".part")
    aside.write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
    aside.rename(TABLE)
    return put
