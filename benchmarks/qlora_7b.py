"""QLoRA of a 7B Llama shape on one GPU beside peft + bitsandbytes: 2,048 tokens a step, checkpointing, rank 64.

The shape is that of Llama 7B with random bf16 weights, NF4 with double quantization, rank 64
on all linears, batch 1, gradient checkpointing, AdamW. The peer is a loop by hand over transformers, peft and
bitsandbytes from the same adapter on the same rows. Each side is a process of its own; they make their steps in turn.
Memory is what PyTorch's allocator had given out and had reserved at most. The peak of bf16 products is measured on the
card first; the share counts 6 floating-point operations per weight of a matrix product and token: forward, forward
again for the checkpoint, and backward to the inputs.

Needs CUDA, peft and bitsandbytes, and 14 GB of disk. LAYERS and STEPS make it shorter.
"""

import json
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks._in_turn import measured, serve
from benchmarks._llama import LLAMA_7B, make_model, make_rows, matmul_peak, peaks

LAYERS, STEPS = int(os.environ.get("LAYERS", "32")), int(os.environ.get("STEPS", "12"))
NEEDS_CUDA = True
DROPPED, LENGTH, RANK, RATE = 3, 2048, 64, 2e-4
SIDES = {"accorda": "ours", "peft": "theirs"}  # and the function that is one


def recipe(place: Path) -> dict[str, Any]:
    """What accorda trains."""
    return {
        "model": {"path": str(place / "model"), "quantization": "nf4"},
        "data": {
            "train": str(place / "rows.jsonl"),
            "eval_split": 0.0,
            "limit": STEPS,
            "max_length": LENGTH,
            "overlong": "truncate",
        },
        "method": {"name": "lora", "rank": RANK, "alpha": 16},
        "training": {
            "batch_size": 1,
            "learning_rate": RATE,
            "schedule": "constant",
            "warmup_steps": 0,
            "max_grad_norm": 0.3,
            "precision": "bf16",
            "gradient_checkpointing": True,
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
    order = [int(session.batches.rows(step)[0]) for step in range(STEPS)]
    rows = [pack_batch([session.train[row]]) for row in order]
    steps = [{"ids": row.input_ids[0].tolist(), "labels": row.labels[0].tolist()} for row in rows]
    (place / "steps.json").write_text(json.dumps(steps), encoding="utf-8")
    torch.cuda.reset_peak_memory_stats()
    serve(lambda _: session.loop.step()["loss"], peaks)


def theirs(place: Path) -> None:
    """The peer."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    packed = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    base = AutoModelForCausalLM.from_pretrained(
        place / "model", quantization_config=packed, dtype=torch.bfloat16, device_map={"": 0}
    )
    base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    base.enable_input_require_grads()
    model = PeftModel.from_pretrained(base, str(place / "start"), is_trainable=True)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=RATE, weight_decay=0.0, fused=True)
    steps = json.loads((place / "steps.json").read_text(encoding="utf-8"))
    model.train()
    torch.cuda.reset_peak_memory_stats()

    def step(number: int) -> float:
        ids, labels = (torch.tensor([steps[number][key]], device="cuda") for key in ("ids", "labels"))
        with torch.autocast("cuda", torch.bfloat16):
            loss = model(input_ids=ids, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 0.3)
        optimizer.step()
        optimizer.zero_grad()
        torch.cuda.synchronize()
        return float(loss.detach())

    serve(step, peaks)


def main() -> dict[str, object]:
    """Both sides in turn."""
    peak = matmul_peak()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        make_model(place / "model", LLAMA_7B, LAYERS, LENGTH)
        make_rows(place / "rows.jsonl", STEPS, 60)
        found = measured(__name__, SIDES, place, STEPS, DROPPED)
        tokens = [len(row["ids"]) for row in json.loads((place / "steps.json").read_text(encoding="utf-8"))]
    seconds = found.seconds
    figures: dict[str, object] = {"layers": LAYERS, "tokens": tokens, "bf16_peak_tflops": round(peak / 1e12, 1)}
    for side, steps in found.steps.items():
        rate = statistics.median(tokens) / seconds[side]
        figures[side] = {
            "seconds_per_step": round(seconds[side], 4),
            "tokens_per_second": round(rate, 1),
            "share_of_bf16_peak": round(6 * LLAMA_7B.weights(LAYERS) * rate / peak, 3),
            "peak_gb": round(steps[-1]["peak"] / 1e9, 3),
            "reserved_gb": round(steps[-1]["reserved"] / 1e9, 3),
            "losses": [round(step["loss"], 5) for step in steps],
        }
    return figures | {"times_as_fast": round(seconds["peft"] / seconds["accorda"], 3)}
