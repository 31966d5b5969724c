"""The sweep over learning rates: a round gives every method one more rate, so that a stopped sweep has some of all."""

import tempfile
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.methods import cells, grid
from benchmarks.methods.runs import Stage, built, circumstances, evaluated, run, settings


def sweep(stage: Stage, methods: Sequence[str], until: float | None = None) -> None:
    """Measure what is missing: until no method's best rate is at the edge of those tried, then further out.

    Args:
        stage: "sft" or "classify".
        methods: their names.
        until: no cell begins after this time, in seconds since the epoch.
    """
    if stage == "sft" and not cells.BASE.exists():
        measure_base()
    for wanted in (grid.FEWEST_RATES, grid.NUM_RATES):
        for _ in range(grid.MOST_RATES):
            for method in methods:
                if until is not None and time.time() > until:
                    return
                tried = cells.losses(cells.read(cells.RESULTS / stage), method)
                rate = grid.next_rate(grid.GUESSES[stage].get(method, grid.GUESS), tried, wanted)
                if rate is not None:
                    measure(stage, method, rate)


def measure(stage: Stage, method: str, rate: float) -> None:
    """One cell, written to its file."""
    from accorda.training.loop import NonFinite

    cell: dict[str, Any] = {"stage": stage, "method": method, "rate": rate}
    began = time.perf_counter()
    try:
        done = run(settings(stage, method, rate))
        cell |= {name: done.found.get(name) for name in ("eval_loss", "accuracy", "intervals")}
    except NonFinite as error:
        cell |= {"eval_loss": None, "accuracy": None, "broke": str(error)}
    cell |= {"seconds": round(time.perf_counter() - began, 1), **circumstances()}
    cells.write(cells.path_of(cells.RESULTS, cell), cell)
    print(stage, method, f"{rate:g}", cell["eval_loss"], cell["accuracy"], cell["seconds"], flush=True)


def measure_base() -> None:
    """The evaluation loss of stage sft before any training: what a method must lower to have learned something."""
    with tempfile.TemporaryDirectory() as place:
        found = evaluated(built(settings("sft", "lora", 1e-3), place))
    cells.write(cells.BASE, {"stage": "sft", "eval_loss": found["eval_loss"], **circumstances()})
