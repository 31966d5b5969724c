"""PPO against supervised fine-tuning on the same base: peak memory with all roles on it.

A Llama of 52 million parameters in three formats, LoRA of rank 8 on all linears, micro-batches of 8 rows of 128 tokens.
PPO holds policy, reference (the base without an adapter), a trained reward model as an adapter, a value model (a head
on the policy's states, or an adapter of its own) and the key/value cache of 8 rows; its phases answer prompts of 64
bytes with 63 tokens. Each run is a process of its own; peaks are beyond the imports, `ratio` is PPO's over SFT's.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.bill import SHAPES, make_model

SHAPE, LIMIT = "52M", 1.25
FORMATS = {
    "bf16": ["model.dtype=bfloat16"],
    "int8": ["model.dtype=bfloat16", "model.quantization=int8"],
    "nf4": ["model.dtype=bfloat16", "model.quantization=nf4"],
}
SHARED = [
    "training.threads=1",
    "training.micro_batch_size=8",
    "data.max_length=128",
    "data.eval_split=0",
    "--lr",
    "1e-4",
]
SFT = ["training.max_steps=3", "training.batch_size=8"]
PPO = [
    "--stage",
    "rl",
    "training.max_steps=6",
    "training.batch_size=2",
    "algorithm.name=ppo",
    "algorithm.num_epochs=2",
    "rollout.num_generations=4",
    "rollout.max_new_tokens=63",
    "rollout.batch_size=8",
]


def make_rows(place: Path) -> None:
    """Rows of exactly 128 tokens with their ends, the same prompts alone, and pairs for the reward model."""
    texts = ["".join("abcdefgh "[(row * 7 + at * at) % 9] for at in range(127)) for row in range(40)]
    rows = {
        "sft": [{"prompt": text[:64], "completion": text[64:]} for text in texts],
        "ppo": [{"prompt": text[:64]} for text in texts],
        "pairs": [{"prompt": text[:64], "chosen": text[64:], "rejected": text[:10]} for text in texts],
    }
    for name, found in rows.items():
        (place / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found), encoding="utf-8")


def peak(place: Path, name: str, data: str, *words: str) -> int:
    """Bytes of one run, its proofs holding."""
    command = [
        sys.executable,
        "-m",
        "accorda",
        "train",
        "--model",
        str(place / SHAPE),
        "--method",
        "lora",
        "--rank",
        "8",
    ]
    command += ["--data", str(place / f"{data}.jsonl"), "--output", str(place / name), "--json", *SHARED, *words]
    environment = os.environ | {"ACCORDA_CACHE": str(place / "cache")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])["peak_memory_bytes"]


def measured(place: Path, name: str, words: list[str]) -> dict[str, float]:
    """One format: supervised, then PPO with either value model."""
    peak(place, f"judge-{name}", "pairs", "--stage", "reward", "training.max_steps=2", "training.batch_size=4", *words)
    supervised = peak(place, f"sft-{name}", "sft", *SFT, *words)
    told = [*PPO, f"reward={place / f'judge-{name}'}", *words]
    head = peak(place, f"ppo-{name}", "ppo", *told)
    adapter = peak(place, f"ppo-adapter-{name}", "ppo", *told, "algorithm.value=adapter")
    return {
        "sft_mb": round(supervised / 1e6, 1),
        "ppo_mb": round(head / 1e6, 1),
        "ppo_with_value_adapter_mb": round(adapter / 1e6, 1),
        "ratio": round(head / supervised, 3),
        "ratio_with_value_adapter": round(adapter / supervised, 3),
    }


def main() -> dict[str, object]:
    """Every format, and whether all stay below the limit."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        make_model(place / SHAPE, SHAPES[SHAPE])
        make_rows(place)
        found = {name: measured(place, name, words) for name, words in FORMATS.items()}
    worst = max(max(one["ratio"], one["ratio_with_value_adapter"]) for one in found.values())
    return {**found, "worst": worst, "limit": LIMIT, "within": worst <= LIMIT}
