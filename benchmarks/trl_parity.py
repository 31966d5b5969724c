"""The losses of 30 steps beside TRL's: same model, same adapter to begin with, same rows in the same batches.

TRL gets our token ids and labels ready-made, so what is compared is loss, gradient, clipping and optimizer, not text.
"""

import os
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import _trl
from benchmarks.kill_resume import make_model, make_rows

SHARED = Path(os.environ.get("ACCORDA_SHARED") or Path(__file__).resolve().parents[2] / "shared")
NUM_STEPS, BATCH_SIZE, RATE = 30, 8, 1e-3


def ours(recipe: dict[str, Any], start: Path) -> tuple[list[float], list[dict[str, list[int]]]]:
    """Losses of our loop, the adapter it began with (in `start`), and the rows in the order it saw them."""
    from accorda.data.batch import pack_batch
    from accorda.methods.storage import save_adapter
    from accorda.recipe.load import load
    from accorda.stages.build import build

    session = build(load(recipe))
    save_adapter(session.model, start)
    rows = []
    for step in range(NUM_STEPS):
        for row in session.batches.rows(step):
            single = pack_batch([session.train[int(row)]])
            rows.append({"input_ids": single.input_ids[0].tolist(), "labels": single.labels[0].tolist()})
    return [session.loop.step()["loss"] for _ in range(NUM_STEPS)], rows


def theirs(model_path: Path, start: Path, rows: list[dict[str, list[int]]]) -> list[float]:
    """Losses of TRL's SFTTrainer over the same rows."""
    with tempfile.TemporaryDirectory() as place:
        trainer = _trl.trainer(
            _trl.adapted(model_path, start),
            model_path,
            rows,
            output_dir=place,
            max_steps=NUM_STEPS,
            per_device_train_batch_size=BATCH_SIZE,
            learning_rate=RATE,
            bf16=False,
        )
        trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def compare(model_path: Path, data: dict[str, Any]) -> dict[str, object]:
    """Both runs, and by how much their losses differ."""
    with tempfile.TemporaryDirectory() as place:
        recipe = {
            "model": {"path": str(model_path)},
            "data": {**data, "eval_split": 0.0},
            "method": {"name": "lora", "rank": 8, "alpha": 16},
            "training": {"batch_size": BATCH_SIZE, "learning_rate": RATE, "schedule": "constant", "warmup_steps": 0},
            "output": f"{place}/run",
        }
        mine, rows = ours(recipe, Path(place) / "start")
        other = theirs(model_path, Path(place) / "start", rows)
    relative = [abs(a - b) / b for a, b in zip(mine, other, strict=True)]
    return {
        "steps": NUM_STEPS,
        "first_loss": [round(mine[0], 5), round(other[0], 5)],
        "last_loss": [round(mine[-1], 5), round(other[-1], 5)],
        "largest_relative_difference": max(relative),
        "within_one_percent": max(relative) < 0.01,
    }


def main() -> dict[str, object]:
    """On stories260K and GSM8K where they are at hand, and always on a model and rows made here."""
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        base = Path(place)
        make_model(base / "model", dropout=0.0)
        make_rows(base / "rows.jsonl")
        found = {"made here": compare(base / "model", {"train": str(base / "rows.jsonl")})}
    if (SHARED / "models").is_dir():
        columns = {"prompt": "question", "completion": "answer"}
        data = {"train": str(SHARED / "data/gsm8k/train.jsonl"), "columns": columns, "limit": 600}
        found["stories260K, GSM8K"] = compare(SHARED / "models/stories260K", data)
    return found
