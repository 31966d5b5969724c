"""The long runs of stage `classify`: MiniLM and 2,000 sentences of SST-2, three epochs, scored on the dev split.

Of the rates of `grid.candidates`, and of one halfway where some seeds break down, the one with the highest accuracy on
dev, the mean of the method's seeds, is its own. Every run also answers the sentences of the test split, whose labels it
is never given: the answers lie unscored in a folder of their own, and only `final` reads them, once the rate is chosen.
"""

import functools
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.methods import cells, grid
from benchmarks.methods.runs import built, circumstances, encoder, run, sentences

ROWS, EPOCHS, BATCH_SIZE, SEEDS = 2000, 3, 16, 3
STAGE = "classify"
FOLDER, ANSWERS = cells.RESULTS / "long", cells.RESULTS / "answers"
PROBE = "linear_probe"
Run = tuple[str, int, float | None]
"""A method, a seed and a rate; the probe has no rate."""


def wanted(methods: Iterable[str], short: Sequence[dict[str, Any]], long: Sequence[dict[str, Any]]) -> list[Run]:
    """The probe, and the runs among which the rate of a method is chosen, of methods whose short sweep is done."""
    found: list[Run] = [(PROBE, 0, None)]
    for method in methods:
        losses = cells.losses(list(short), method)
        if grid.next_rate(grid.GUESSES[STAGE].get(method, grid.GUESS), losses) is None:
            rates = grid.followed(grid.candidates(losses), means(method, long))
            rates += halfway(method, rates, long)
            found += [(method, seed, rate) for seed in seeds(method) for rate in rates]
    return found


def halfway(method: str, rates: Sequence[float], long: Sequence[dict[str, Any]]) -> list[float]:
    """The middle between the best rate and the place above it, where only broken seeds keep that one from being best.

    A seed is broken that is no better on dev than the linear probe.
    """
    found, floor = means(method, long), max((cell["accuracy"] for cell in long if cell["method"] == PROBE), default=1.0)
    if not set(rates) <= set(found):
        return []
    best = grid.most_accurate({rate: found[rate] for rate in rates})
    above = [
        cell["accuracy"] or 0.0 for cell in long if cell["method"] == method and cell["rate"] == grid.step(best, 1)
    ]
    sound = [accuracy for accuracy in above if accuracy > floor]
    if len(sound) == len(above) or not sound or statistics.fmean(sound) <= found[best]:
        return []
    return [grid.between(best)]


def seeds(method: str) -> range:
    """The first methods run with several seeds, others with one."""
    return range(SEEDS if method in grid.FIRST else 1)


def chosen(method: str, short: Sequence[dict[str, Any]], long: Sequence[dict[str, Any]]) -> float | None:
    """The rate of a method: the highest accuracy on dev, the lower of two alike; None while a run of it is missing."""
    found = accuracies(method, short, long)
    return grid.most_accurate(found) if found else None


def accuracies(method: str, short: Sequence[dict[str, Any]], long: Sequence[dict[str, Any]]) -> dict[float, float]:
    """The accuracy on dev at each rate that a method may get; empty while a run is missing."""
    rates = [rate for name, _, rate in wanted([method], short, long) if name == method]
    found = means(method, long)
    return {rate: found[rate] for rate in rates if rate is not None} if set(rates) <= set(found) else {}


def means(method: str, long: Sequence[dict[str, Any]]) -> dict[float, float]:
    """The mean accuracy on dev of a method's seeds, where all have run; a broken run is right in nothing."""
    found = {(cell["rate"], cell["seed"]): cell["accuracy"] or 0.0 for cell in long if cell["method"] == method}
    own = seeds(method)
    rates = {rate for rate, _ in found if all((rate, seed) in found for seed in own)}
    return {rate: statistics.fmean(found[rate, seed] for seed in own) for rate in rates}


def short_cells() -> list[dict[str, Any]]:
    """The cells of the short sweep."""
    return cells.read(cells.RESULTS / STAGE)


def long_cells() -> list[dict[str, Any]]:
    """The cells of the long runs."""
    return cells.read(FOLDER)


def missing(methods: Sequence[str]) -> list[Run]:
    """The runs that have no file yet."""
    runs = wanted(methods, short_cells(), long_cells())
    return [run for run in runs if not (FOLDER / f"{name_of(*run)}.json").exists()]


def name_of(method: str, seed: int, rate: float | None) -> str:
    """What the files of a run are called."""
    return f"{method}-{seed}" if rate is None else f"{method}-{rate:g}-{seed}"


def apart(method: str, seed: int, rate: float | None) -> None:
    """Measure one run in a process of its own, so that its memory is its own."""
    rates = [] if rate is None else [f"{rate:g}"]
    subprocess.run([sys.executable, "-m", "benchmarks.methods", "run", method, str(seed), *rates], check=True)


def measure(method: str, seed: int, rate: float | None = None) -> None:
    """Measure one run, or the probe, in this process and write its files; without a rate at the chosen one.

    Raises:
        SystemExit: no rate is chosen yet.
    """
    if method != PROBE and rate is None:
        rate = chosen(method, short_cells(), long_cells())
        if rate is None:
            raise SystemExit(f"run {method} {seed}: its long runs come first, or give a rate")
    found = probed() if rate is None else trained(method, seed, rate)
    name, answers = name_of(method, seed, rate), found.pop("answers", None)
    if answers is not None:
        cells.write_text(ANSWERS / f"{name}.txt", answers + "\n")
    cell = {"method": method, "rate": rate, "seed": seed, **found, "rows": ROWS, "asked": len(sentences("dev"))}
    cells.write(FOLDER / f"{name}.json", cell | {"weights": weights(Path(encoder()))} | circumstances())
    print(name, cell["accuracy"], cell["seconds"], flush=True)


def weights(folder: Path) -> list[str]:
    """The dtypes that the files of a model hold: a copy may be rounded."""
    from safetensors import safe_open

    found = set()
    for file in folder.glob("*.safetensors"):
        with safe_open(file, "pt") as tensors:
            found |= {tensors.get_slice(name).get_dtype() for name in tensors.keys()}  # noqa: SIM118
    return sorted(found)


def settings(method: str, rate: float, seed: int) -> dict[str, Any]:
    """The recipe of a long run: the sentences of dev to be scored on, those of test behind them without their label."""
    unlabelled = [{"text": row["text"], "label": "negative"} for row in sentences("test")]
    training = {"learning_rate": rate, "threads": 1, "batch_size": BATCH_SIZE, "epochs": EPOCHS, "seed": seed}
    return {
        "stage": STAGE,
        "model": {"path": encoder()},
        "data": {"train": sentences("train")[:ROWS], "eval": sentences("dev") + unlabelled},
        "method": {"name": method},
        "training": training,
    }


def trained(method: str, seed: int, rate: float) -> dict[str, Any]:
    """What a tuned classifier says, and what it costs."""
    import dataclasses

    from accorda.methods.registry import methods
    from accorda.training.loop import NonFinite

    began = time.perf_counter()
    try:
        done = run(settings(method, rate, seed), tuned)
    except NonFinite as error:
        return {"accuracy": None, "broke": str(error), "seconds": round(time.perf_counter() - began, 1)}
    return done.found | {
        "parameters": dataclasses.asdict(methods()[method]().num_parameters(outline())),
        "memory": done.memory,
        "training_seconds": round(done.training_seconds, 1),
        "seconds": round(done.seconds, 1),
    }


def tuned(session: Any) -> dict[str, Any]:
    """What the session's model says to dev and test."""
    from accorda.evaluation.labelled.predict import predicted, segments_of

    with session.loop.precision.autocast():
        return said(session, predicted(session.model, segments_of(session.eval)))


@functools.cache
def outline() -> Any:
    """MiniLM with a head for two classes and without memory, to count on."""
    from accorda.models.labels import Labels
    from accorda.models.load import load_model

    return load_model(encoder(), head=Labels(("negative", "positive")), device="meta")


def probed() -> dict[str, Any]:
    """What a linear probe on the frozen base says: what `accorda eval` compares every classifier with."""
    from accorda.evaluation.labelled.predict import segments_of
    from accorda.evaluation.labelled.probe import probe
    from accorda.methods.routing import use

    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as place:
        session = built(settings("lora", 1e-3, 0), place)
    with use(session.model, None):
        asked = segments_of(session.eval)
        outputs = probe(session.model, segments_of(session.train), asked, session.renderer.labels)
    return said(session, outputs) | {"seconds": round(time.perf_counter() - began, 1)}


def said(session: Any, outputs: Any) -> dict[str, Any]:
    """The scores on dev, and the answers to test: a digit each, 1 for positive."""
    from accorda.evaluation.labelled.predict import rows_of, segments_of
    from accorda.evaluation.measure import scored
    from accorda.evaluation.registry import read_metrics

    known = len(sentences("dev"))
    assert len(outputs) == known + len(sentences("test"))
    labels = session.renderer.labels
    rows = rows_of(outputs[:known], segments_of(session.eval)[:known], labels)
    found = scored(read_metrics(("eval_loss", "accuracy")), rows).estimates
    return {
        "accuracy": found["accuracy"].value,
        "interval": [found["accuracy"].low, found["accuracy"].high],
        "eval_loss": found["eval_loss"].value,
        "answers": "".join(str(int(labels.names[answer] == "positive")) for answer in outputs[known:].argmax(1)),
    }
