"""`accorda demo --align` with several seeds: how often PPO wins over supervised fine-tuning, judged by what is true.

The road is the demo's own, in a process of its own per seed: the seed of all three runs is another, everything else
stays. Told are the win rate over 100 held-out tickets that nobody trained on with its interval, facts stated rightly,
what the reward model agrees with, and how long it took. SEEDS says which; a seed that stands in the result is kept.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

RESULT = Path(__file__).parent / "results" / "road.json"
SEEDS = [int(seed) for seed in os.environ.get("SEEDS", "0,1,2").split(",")]
STAGES = ("sft", "reward", "rl")


def walked(seed: int) -> dict[str, Any]:
    """What one road tells."""
    with tempfile.TemporaryDirectory() as name:
        seeds = [f"{stage}.training.seed={seed}" for stage in STAGES]
        command = [sys.executable, "-m", "accorda", "demo", "--align", "--output", f"{name}/align", "--json", *seeds]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout)
    judge = found["reward"]
    agrees = {"value": judge["preference_accuracy"], "interval": judge["intervals"]["preference_accuracy"]}
    return {"win_rate": found["win_rate"], "reward_model_agrees_with": agrees, "seconds": found["seconds"]}


def main() -> dict[str, object]:
    """Every seed, and the mean."""
    known = json.loads(RESULT.read_text(encoding="utf-8"))["figures"]["seeds"] if RESULT.exists() else {}
    found = {str(seed): known.get(str(seed)) or walked(seed) for seed in SEEDS}
    rates = [one["win_rate"]["value"] for one in found.values()]
    return {"seeds": found, "mean_win_rate": round(sum(rates) / len(rates), 4)}
