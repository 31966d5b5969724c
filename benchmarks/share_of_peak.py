"""How much of the machine's own matrix product a step reaches: LoRA of the 162M Llama shape in bf16, one thread.

The FLOPs are those that `accorda train --profile` counts: of every product of a step, by its shapes. Each step is made
twice, recorded and then timed from the same state; it and the plain product before it are timed by the seconds that
the processor worked, so other work on the machine is not in them. GSM8K, rank 16 on all linears, 8 rows a step, no
checkpointing. The first steps are dropped. Needs the folder with real data (`ACCORDA_SHARED`, or `../shared`). STEPS
says how many.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks._cases import CASES, STEPS, make_model, recipe

DROPPED, SIZE = 2, 2048


def product() -> float:
    """FLOP per second of a square product in bf16, by processor time; the fastest of three."""
    import torch

    square = torch.full((SIZE, SIZE), 0.5, dtype=torch.bfloat16)
    torch.mm(square, square)
    took = []
    for _ in range(3):
        began = time.process_time()
        torch.mm(square, square)
        took.append(time.process_time() - began)
    return 2 * SIZE**3 / min(took)


def flops(session: Any) -> float:
    """Of the next step, which torch's profiler records; the loop is then where it was."""
    from accorda.training.loop import unwatched
    from accorda.training.precision import Precision
    from accorda.training.profile import Profiler

    profiler, before = Profiler("cpu"), session.loop.state()
    profiler.begin(Precision("bf16"), 1)
    session.loop.part = profiler.part
    with profiler.part("step"):
        session.loop.step()
    session.loop.part = unwatched
    session.loop.load_state(before)
    return profiler.operators.flops


def main() -> dict[str, object]:
    """Speeds, and their ratio."""
    import torch

    from accorda.recipe.load import load
    from accorda.stages.build import build

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        make_model(place / "model", CASES["lora"])
        session = build(load(recipe(place, CASES["lora"])))
        seconds, tokens, counted, peaks = [], [], [], []
        for _ in range(STEPS):
            counted.append(flops(session))
            peaks.append(product())
            began = time.process_time()
            tokens.append(session.loop.step()["tokens"])
            seconds.append(time.process_time() - began)
    speed = sum(counted[DROPPED:]) / sum(seconds[DROPPED:])
    return {
        "steps": len(seconds),
        "tokens": tokens,
        "processor_seconds": [round(took, 3) for took in seconds],
        "gflop": [round(step / 1e9, 1) for step in counted],
        "gflops_per_second": round(speed / 1e9, 1),
        "gflops_per_second_of_plain_products": round(max(peaks) / 1e9, 1),
        "share_of_peak": round(speed / max(peaks), 3),
    }
