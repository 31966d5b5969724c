"""A sweep of eight adapters over one resident base against one run alone: whole-process peak memory and time.

Each command is a process of its own, measured from outside; `memory` is the sweep's peak over the single run's, `time`
the sweep's seconds over eight times the single run's. The models are those of `benchmarks/bill.py` and the bundled one.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.bill import SHAPES, make_model, make_rows

SEEDS = 8
POINTS = (("bundled", 16), ("10M", 16), ("52M", 8), ("162M", 8))  # model, rank of LoRA on all linears
STEPS, BATCH = 6, 8


def measured(command: list[str]) -> tuple[int, float]:
    """Peak resident bytes and seconds of a command that must succeed."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}")
    return usage.ru_maxrss * 1024, time.perf_counter() - started


def run(place: Path, shape: str, rank: int) -> dict[str, object]:
    """One model."""
    model, rows = str(place / shape) if shape in SHAPES else shape, place / "rows.jsonl"
    make_rows(rows, "sft")
    if shape in SHAPES:
        make_model(Path(model), SHAPES[shape])
    common = [
        sys.executable,
        "-m",
        "accorda",
        "train",
        "--model",
        model,
        "--data",
        str(rows),
        "--lr",
        "0.0001",
        "--json",
    ]
    common += ["--rank", str(rank), f"training.max_steps={STEPS}", f"training.batch_size={BATCH}", "training.threads=1"]
    alone, seconds = measured([*common, "--output", str(place / f"{shape}-one")])
    seeds = ",".join(map(str, range(SEEDS)))
    together, all_seconds = measured([*common, f"training.seed=[{seeds}]", "--output", str(place / f"{shape}-eight")])
    return {
        "model": shape,
        "rank": rank,
        "one_mb": round(alone / 1e6, 1),
        "eight_mb": round(together / 1e6, 1),
        "memory": round(together / alone, 3),
        "time": round(all_seconds / (SEEDS * seconds), 3),
    }


def main() -> dict[str, object]:
    """Every model, and the largest ratio of memory."""
    points: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as place:
        os.environ["ACCORDA_CACHE"] = str(Path(place) / "cache")
        for shape, rank in POINTS:
            points.append(run(Path(place), shape, rank))
            print(json.dumps(points[-1]), file=sys.stderr, flush=True)
    return {"adapters": SEEDS, "points": points, "largest_memory": max(float(str(point["memory"])) for point in points)}
