"""QLoRA's loss beside 16-bit LoRA's on the bundled model: the same rows, rate and adapter at the start, 200 steps.

The bundled model (3.5 million parameters) and its support tickets at the settings of `accorda demo` (LoRA of rank 16 on
all linears, 4 rows a step, rate 3e-3), products in bf16, once on the dense model, once on NF4 with double quantization,
with three seeds. Each run is `accorda train` in a process of its own, one after the other. Losses are those of the
40 tickets that the run holds out, and the mean of the last 50 steps; `off` is how far QLoRA's mean over the seeds lies
above LoRA's.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from accorda.cli.demo import recipe

STEPS, LAST, LIMIT, SEEDS = 200, 50, 0.01, (0, 1, 2)
SIDES = {"lora": "none", "qlora": "nf4"}  # and the number format of the base


def trained(place: Path, side: str, seed: int) -> dict[str, float]:
    """One run: its losses."""
    output = place / f"{side}-{seed}"
    settings = recipe("tickets", str(output))
    settings["model"]["quantization"] = SIDES[side]
    settings["training"] |= {"max_steps": STEPS, "precision": "bf16", "threads": 1, "seed": seed}
    settings["evaluation"] = {"every": STEPS}
    file = place / f"{side}-{seed}.yaml"
    file.write_text(json.dumps(settings), encoding="utf-8")
    command = [sys.executable, "-m", "accorda", "train", str(file), "--json"]
    environment = os.environ | {"ACCORDA_CACHE": str(place / "cache")}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment)
    result = json.loads(done.stdout)
    if done.returncode != 0:
        raise RuntimeError(f"accorda train ended with {done.returncode}: {result}")
    events = [json.loads(line) for line in (output / "events.jsonl").read_text("utf-8").splitlines()]
    losses = [event["loss"] for event in events if event["event"] == "step"]
    if len(losses) != STEPS:
        raise RuntimeError(f"{len(losses)} steps instead of {STEPS}")
    found = {"held_out": result["eval_loss"], f"last_{LAST}_steps": statistics.mean(losses[-LAST:])}
    print(json.dumps({"side": side, "seed": seed, **found}), file=sys.stderr, flush=True)
    return found


def main() -> dict[str, object]:
    """Both sides with every seed, and how far apart they end."""
    with tempfile.TemporaryDirectory() as name:
        runs = {side: [trained(Path(name), side, seed) for seed in SEEDS] for side in SIDES}
    means = {
        side: {key: statistics.mean(run[key] for run in found) for key in found[0]} for side, found in runs.items()
    }
    off = {key: means["qlora"][key] / value - 1 for key, value in means["lora"].items()}
    return {
        "steps": STEPS,
        "losses": {
            side: [{key: round(loss, 5) for key, loss in run.items()} for run in found] for side, found in runs.items()
        },
        "off": {name: round(value, 5) for name, value in off.items()},
        "limit": LIMIT,
        "within": all(value <= LIMIT for value in off.values()),
    }
