"""The final table: what the long runs at the chosen rates answered to the whole test split, scored.

Only answers of chosen rates are ever scored, and a rate is chosen without them.
"""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.methods import cells, long
from benchmarks.methods.runs import sentences

FOLDER = cells.RESULTS / "final"
COSTS = ("parameters", "memory", "training_seconds", "seconds", "rows", "weights", "date", "versions", "cores", "gpu")


def score(methods: Sequence[str]) -> None:
    """The scores of everything that is chosen and has been run to its end, a file each."""
    runs: list[long.Run] = [(long.PROBE, 0, None)]
    for method in methods:
        rate = long.chosen(method, long.short_cells(), long.long_cells())
        runs += [(method, seed, rate) for seed in long.seeds(method) if rate is not None]
    for run in runs:
        name = long.name_of(*run)
        if (long.ANSWERS / f"{name}.txt").exists():
            cells.write(path_of(*run[:2]), scored(name))


def path_of(method: str, seed: int) -> Path:
    """The file of one run."""
    return FOLDER / f"{method}-{seed}.json"


def scored(name: str) -> dict[str, Any]:
    """The cell of a run with its accuracy on test, beside the one on dev."""
    cell = cells.one(long.FOLDER / f"{name}.json")
    answers = (long.ANSWERS / f"{name}.txt").read_text(encoding="utf-8").strip()
    told = {"method": cell["method"], "seed": cell["seed"], "rate": cell["rate"], "dev": cell["accuracy"]}
    truth = [int(row["label"] == "positive") for row in sentences("test")]
    return told | accuracy(answers, truth) | {each: cell[each] for each in COSTS if each in cell}


def accuracy(answers: str, truth: Sequence[int]) -> dict[str, Any]:
    """The share of answers, a digit each, that are right, with its 95% interval."""
    from accorda.evaluation.measure import scored
    from accorda.evaluation.metric import Row
    from accorda.evaluation.registry import read_metrics

    rows = [
        Row(log_likelihood=0.0, num_tokens=1, label=label, predicted=int(answer), num_classes=2)
        for answer, label in zip(answers, truth, strict=True)
    ]
    found = scored(read_metrics(("accuracy",)), rows).estimates["accuracy"]
    return {"accuracy": found.value, "interval": [found.low, found.high], "tested": len(truth)}


def summary(found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per method: the mean and range of its seeds, that on dev, the interval and costs of the first."""
    rows = []
    for method in dict.fromkeys(cell["method"] for cell in found):
        own = sorted((cell for cell in found if cell["method"] == method), key=lambda cell: cell["seed"])
        accuracies = [cell["accuracy"] for cell in own]
        kept = ("rate", "interval", "parameters", "memory", "training_seconds")
        row = {"method": method, "seeds": len(own), "accuracy": statistics.fmean(accuracies)}
        row["dev"] = statistics.fmean(cell["dev"] for cell in own)
        rows.append(row | {"range": [min(accuracies), max(accuracies)]} | {name: own[0].get(name) for name in kept})
    return sorted(rows, key=lambda row: -row["accuracy"])
