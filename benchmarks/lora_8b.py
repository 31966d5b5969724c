"""LoRA of an 8B Llama shape on one GPU beside TRL + peft: bf16, 4,096 tokens a step, rank 16 on all linears, batch 1.

The shape is that of Llama 3 8B with random weights; the same rows and the same adapter at the start; TRL's SFTTrainer
gets our token ids and labels ready-made, its base in bf16 and its adapter in fp32 under autocast, as ours. A side makes
all its steps in a process of its own before the next begins. Memory is what PyTorch's allocator had given out at most.
The peak of bf16 products is measured first; the share counts 4 floating-point operations per weight of a matrix product
and token (forward, and backward to the inputs; 6 with checkpointing), attention not counted.

Needs CUDA, peft and trl, and 17 GB of disk. LAYERS and STEPS make it shorter; CHECKPOINTING=1 recomputes blocks.
"""

import json
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import _trl
from benchmarks._in_turn import one_by_one, serve
from benchmarks._llama import LLAMA3_8B, make_model, make_rows, matmul_peak, peaks

LAYERS, STEPS = int(os.environ.get("LAYERS", "32")), int(os.environ.get("STEPS", "10"))
CHECKPOINTING = os.environ.get("CHECKPOINTING") == "1"
NEEDS_CUDA = True
DROPPED, LENGTH, RANK, RATE = 3, 4096, 16, 1e-4
SIDES = {"accorda": "ours", "trl": "theirs"}  # and the function that is one


def recipe(place: Path) -> dict[str, Any]:
    """What accorda trains."""
    return {
        "model": {"path": str(place / "model")},
        "data": {
            "train": str(place / "rows.jsonl"),
            "eval_split": 0.0,
            "limit": STEPS,
            "max_length": LENGTH,
            "overlong": "truncate",
        },
        "method": {"name": "lora", "rank": RANK, "alpha": 32},
        "training": {
            "batch_size": 1,
            "micro_batch_size": 1,
            "learning_rate": RATE,
            "schedule": "constant",
            "warmup_steps": 0,
            "max_grad_norm": 1.0,
            "precision": "bf16",
            "gradient_checkpointing": CHECKPOINTING,
            "epochs": 1,
        },
        "output": str(place / "run"),
    }


def ours(place: Path) -> None:
    """Write the start and the rows, then make a step at every line of standard input."""
    import torch

    from accorda.data.batch import pack_batch
    from accorda.methods.storage import save_adapter
    from accorda.recipe.load import load
    from accorda.stages.build import build

    session = build(load(recipe(place)))
    save_adapter(session.model, place / "start")
    rows = [pack_batch([session.train[int(session.batches.rows(step)[0])]]) for step in range(STEPS)]
    steps = [{"input_ids": row.input_ids[0].tolist(), "labels": row.labels[0].tolist()} for row in rows]
    (place / "steps.json").write_text(json.dumps(steps), encoding="utf-8")
    torch.cuda.reset_peak_memory_stats()
    serve(lambda _: session.loop.step()["loss"], peaks)


def theirs(place: Path) -> None:
    """TRL's trainer."""
    import torch

    trainer = _trl.trainer(
        _trl.adapted(place / "model", place / "start", dtype=torch.bfloat16),
        place / "model",
        json.loads((place / "steps.json").read_text(encoding="utf-8")),
        gradient_checkpointing=CHECKPOINTING,
        output_dir=str(place / "trl"),
        max_steps=STEPS,
        per_device_train_batch_size=1,
        learning_rate=RATE,
        save_strategy="no",
        bf16=True,
        disable_tqdm=True,
    )
    _trl.serve_steps(trainer, peaks)


def main() -> dict[str, object]:
    """Both sides, one after the other."""
    peak = matmul_peak()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        make_model(place / "model", LLAMA3_8B, LAYERS, LENGTH)
        make_rows(place / "rows.jsonl", STEPS, 150)
        found = one_by_one(__name__, SIDES, place, STEPS, DROPPED)
        tokens = [len(row["input_ids"]) for row in json.loads((place / "steps.json").read_text(encoding="utf-8"))]
    seconds, operations = found.seconds, (6 if CHECKPOINTING else 4) * LLAMA3_8B.weights(LAYERS)
    figures: dict[str, object] = {"layers": LAYERS, "tokens": tokens, "checkpointing": CHECKPOINTING}
    figures["bf16_peak_tflops"] = round(peak / 1e12, 1)
    for side, steps in found.steps.items():
        rate = statistics.median(tokens) / seconds[side]
        figures[side] = {
            "seconds_per_step": round(seconds[side], 4),
            "tokens_per_second": round(rate, 1),
            "share_of_bf16_peak": round(operations * rate / peak, 3),
            "peak_gb": round(steps[-1]["peak"] / 1e9, 3),
            "losses": [round(step["loss"], 5) for step in steps],
        }
    return figures | {"times_as_fast": round(seconds["trl"] / seconds["accorda"], 3)}
