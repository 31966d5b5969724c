"""One training run in this process: built as `accorda train` builds it, stepped to its end and looked at."""

import csv
import datetime
import functools
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

SHARED = Path(os.environ.get("ACCORDA_SHARED") or Path(__file__).resolve().parents[3] / "shared")
ENCODER = "ACCORDA_MINILM"
ROWS = {"sft": 600, "classify": 600}
BATCH_SIZE = 8
Stage = Literal["sft", "classify"]


@dataclass(frozen=True)
class Done:
    """A finished run: what was found of its model, peak bytes and seconds of training, seconds of it all."""

    found: dict[str, Any]
    memory: int
    training_seconds: float
    seconds: float


def encoder() -> str:
    """The folder of MiniLM.

    Raises:
        SystemExit: nobody said where it is.
    """
    folder = os.environ.get(ENCODER)
    if not folder:
        raise SystemExit(f"{ENCODER} is not set: the folder of MiniLM; see the docstring of benchmarks/methods")
    return folder


@functools.cache
def sentences(split: str) -> list[dict[str, str]]:
    """The rows of a split of SST-2, whole sentences of two classes."""
    with (SHARED / "data/sst2_sentences" / f"{split}.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [{"text": text, "label": ("negative", "positive")[int(label)]} for text, label in rows]


def settings(stage: Stage, method: str, rate: float) -> dict[str, Any]:
    """The recipe of one cell of a sweep over rates."""
    if stage == "sft":
        data: dict[str, Any] = {"train": "bundled:tickets", "eval": "bundled:tickets-heldout", "eval_limit": 100}
        model = "bundled"
    else:
        data = {"train": sentences("train")[: ROWS[stage]], "eval": sentences("dev")[:200]}
        model = encoder()
    return {
        "stage": stage,
        "model": {"path": model},
        "data": data | {"limit": ROWS[stage]},
        "method": {"name": method},
        "training": {"learning_rate": rate, "threads": 1, "batch_size": BATCH_SIZE},
    }


def built(recipe: dict[str, Any], place: str) -> Any:
    """The session of a recipe, as `accorda train` builds it; it would write to the folder `place`."""
    from accorda.recipe.load import load
    from accorda.stages.build import build

    return build(load(recipe | {"output": f"{place}/run"}))


def run(recipe: dict[str, Any], look: Callable[[Any], dict[str, Any]] | None = None) -> Done:
    """Train to the end and `look` at the session, as its stage evaluates it if not said; nothing of the run is kept.

    Raises:
        NonFinite: the rate was too high.
    """
    from accorda.stages.build import STEPS_NOTE

    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as place:
        session = built(recipe, place)
        stepped = time.perf_counter()
        for _ in range(session.notes[STEPS_NOTE]):
            session.loop.step()
        trained, memory = time.perf_counter(), session.loop.memory.bytes()
        found = (look or evaluated)(session)
    return Done(found, memory, trained - stepped, time.perf_counter() - began)


def evaluated(session: Any) -> dict[str, Any]:
    """What the evaluation of the session's stage finds."""
    from accorda.stages.contract import find_stage

    evaluate = find_stage(session.recipe.stage).evaluator(session)
    assert evaluate is not None
    return evaluate()


def circumstances() -> dict[str, Any]:
    """When, with what, and on what device or how many cores a cell was measured."""
    import torch
    import transformers

    import accorda

    return {
        "date": datetime.date.today().isoformat(),
        "versions": {
            "accorda": accorda.__version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
        "cores": len(os.sched_getaffinity(0)),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }
