"""The final table: every method on MiniLM and 2,000 sentences of SST-2 at the rate that its sweep chose.

The rate was chosen on rows of the dev split, the accuracy is of the whole test split. Each run has a process of its
own, so that its memory is its own.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.methods import cells, grid
from benchmarks.methods.runs import built, circumstances, encoder, run, sentences

ROWS, EPOCHS, BATCH_SIZE, SEEDS = 2000, 3, 16, 3
FOLDER = cells.RESULTS / "final"
PROBE = "linear_probe"


def wanted() -> list[tuple[str, int]]:
    """Every run of the table, the first methods first; the others have one seed."""
    from accorda.methods.registry import methods

    others = [name for name in methods() if name not in grid.FIRST]
    seeds = [(name, seed) for seed in range(1, SEEDS) for name in grid.FIRST]
    return [(PROBE, 0), *((name, 0) for name in (*grid.FIRST, *others)), *seeds]


def missing() -> list[tuple[str, int]]:
    """The runs that have no file yet, of methods whose rates were swept."""
    swept = {PROBE, *(cell["method"] for cell in cells.read(cells.RESULTS / "classify"))}
    return [(method, seed) for method, seed in wanted() if method in swept and not path_of(method, seed).exists()]


def path_of(method: str, seed: int) -> Path:
    """The file of one run."""
    return FOLDER / f"{method}-{seed}.json"


def apart(method: str, seed: int) -> None:
    """Measure one run in a process of its own."""
    subprocess.run([sys.executable, "-m", "benchmarks.methods", "run", method, str(seed)], check=True)


def measure(method: str, seed: int) -> None:
    """Measure one run, or the probe, in this process and write its file."""
    found = probe() if method == PROBE else trained(method, seed)
    cell = {"method": method, "seed": seed, **found, "rows": ROWS, "tested": len(sentences("test")), **circumstances()}
    cells.write(path_of(method, seed), cell)
    print(method, seed, cell["accuracy"], cell["seconds"], flush=True)


def settings(method: str, rate: float, seed: int) -> dict[str, Any]:
    """The recipe of a run of the table."""
    training = {"learning_rate": rate, "threads": 1, "batch_size": BATCH_SIZE, "epochs": EPOCHS, "seed": seed}
    return {
        "stage": "classify",
        "model": {"path": encoder()},
        "data": {"train": sentences("train")[:ROWS], "eval": sentences("test")},
        "method": {"name": method},
        "training": training,
    }


def trained(method: str, seed: int) -> dict[str, Any]:
    """What a tuned classifier reaches, and what it costs."""
    import dataclasses

    from accorda.methods.registry import methods

    losses = cells.losses(cells.read(cells.RESULTS / "classify"), method)
    rate = grid.chosen("classify", method, losses)
    done = run(settings(method, rate, seed))
    count = methods()[method]().num_parameters(outline())
    return {
        "rate": rate,
        "accuracy": done.found["accuracy"],
        "interval": done.found["intervals"]["accuracy"],
        "eval_loss": done.found["eval_loss"],
        "parameters": dataclasses.asdict(count),
        "memory": done.memory,
        "training_seconds": round(done.training_seconds, 1),
        "seconds": round(done.seconds, 1),
    }


def outline() -> Any:
    """MiniLM with a head for two classes and without memory, to count on."""
    from accorda.models.labels import Labels
    from accorda.models.load import load_model

    return load_model(encoder(), head=Labels(("negative", "positive")), device="meta")


def probe() -> dict[str, Any]:
    """What a linear probe on the frozen base reaches: what `accorda eval` compares every classifier with."""
    from accorda.evaluation.labelled.predict import rows_of, segments_of
    from accorda.evaluation.labelled.probe import probe as outputs_of
    from accorda.evaluation.measure import scored
    from accorda.evaluation.registry import read_metrics
    from accorda.methods.routing import use

    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as place:
        session = built(settings("lora", 1e-3, 0), place)
    asked = segments_of(session.eval)
    with use(session.model, None):
        outputs = outputs_of(session.model, segments_of(session.train), asked, session.renderer.labels)
    labels = session.renderer.labels
    estimate = scored(read_metrics(("accuracy",)), rows_of(outputs, asked, labels)).estimates["accuracy"]
    seconds = round(time.perf_counter() - began, 1)
    return {"accuracy": estimate.value, "interval": [estimate.low, estimate.high], "seconds": seconds}


def summary(found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per method: the mean and range of its seeds, the interval of its first seed, and what it costs."""
    rows = []
    for method in dict.fromkeys(cell["method"] for cell in found):
        own = sorted((cell for cell in found if cell["method"] == method), key=lambda cell: cell["seed"])
        accuracies = [cell["accuracy"] for cell in own]
        kept = ("rate", "interval", "parameters", "memory", "training_seconds")
        row = {"method": method, "seeds": len(own), "accuracy": sum(accuracies) / len(own)}
        rows.append(row | {"range": [min(accuracies), max(accuracies)]} | {name: own[0].get(name) for name in kept})
    return sorted(rows, key=lambda row: -row["accuracy"])
