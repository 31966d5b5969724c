"""QLoRA of a Llama of 1.1 billion parameters: `accorda train` for three steps, its peak beside `accorda plan`'s bill.

Vocabulary 32,000, width 2,048, 22 blocks of inner width 5,632, 32 heads over 4 of keys and values, untied; random
weights in bf16, drawn tensor by tensor into a temporary folder (2.2 GB). NF4 with double quantization, LoRA of rank 16
on all linears, bf16, one row of exactly 512 tokens a step, gradient checkpointing, AdamW, one thread. The run is whole:
loading, steps, a checkpoint, files and proofs. Peaks are beyond the imports; LIMIT is what a run may take.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.bill import make_tokenizer

STEPS, LENGTH, RANK, LIMIT = 3, 512, 16, 2.5e9
CONFIG = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "dtype": "bfloat16",
    "vocab_size": 32000,
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "num_hidden_layers": 22,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "max_position_embeddings": 2048,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "tie_word_embeddings": False,
}


def make_model(folder: Path) -> int:
    """A folder with one weight file per tensor; the number of parameters."""
    import torch
    from safetensors.torch import save_file
    from transformers import LlamaConfig, LlamaForCausalLM

    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in LlamaForCausalLM(LlamaConfig(**CONFIG)).state_dict().items()}
    generator, files = torch.Generator().manual_seed(0), {}
    for number, (name, shape) in enumerate(shapes.items(), start=1):
        files[name] = f"model-{number:05}-of-{len(shapes):05}.safetensors"
        tensor = torch.ones(shape) if len(shape) == 1 else 0.02 * torch.randn(shape, generator=generator)
        save_file({name: tensor.bfloat16()}, folder / files[name], {"format": "pt"})
    index = {"metadata": {}, "weight_map": files}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    make_tokenizer().save_pretrained(folder)
    return sum(shape.numel() for shape in shapes.values())


def make_rows(path: Path) -> None:
    """A row a step: a token per letter, and the one that ends an answer."""
    letters = "the quick brown fox jumps over the lazy dog " * 20
    rows = [
        {"prompt": letters[at : at + 255], "completion": letters[at + 255 : at + LENGTH - 1]} for at in range(STEPS)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def told(verb: str, place: Path, *more: str) -> dict[str, Any]:
    """What a verb of accorda says as JSON, in a process of its own."""
    settings = {
        "model.quantization": "nf4",
        "method.rank": RANK,
        "method.target_modules": "all-linear",
        "data.max_length": LENGTH,
        "data.eval_split": 0.0,
        "training.max_steps": STEPS,
        "training.batch_size": 1,
        "training.micro_batch_size": 1,
        "training.precision": "bf16",
        "training.gradient_checkpointing": "true",
        "training.learning_rate": 2e-4,
        "training.threads": 1,
    }
    command = [sys.executable, "-m", "accorda", verb, "--model", str(place / "model"), "--method", "lora", "--json"]
    command += ["--data", str(place / "rows.jsonl"), *(f"{name}={value}" for name, value in settings.items()), *more]
    environment = os.environ | {"ACCORDA_CACHE": str(place / "cache")}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment)
    found = json.loads(done.stdout)
    if done.returncode != 0:
        raise RuntimeError(f"accorda {verb} ended with {done.returncode}: {found}")
    return found


def main() -> dict[str, object]:
    """The bill, then the run."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        parameters = make_model(place / "model")
        make_rows(place / "rows.jsonl")
        bill, run = told("plan", place), told("train", place, "--output", str(place / "run"))
        events = [json.loads(line) for line in (place / "run" / "events.jsonl").read_text("utf-8").splitlines()]
    steps = [event for event in events if event.get("event") == "step"]
    peak = run["peak_memory_bytes"]
    figures = {
        "parameters": parameters,
        "steps": len(steps),
        "tokens": [step["tokens"] for step in steps],
        "losses": [round(step["loss"], 4) for step in steps],
        "seconds": [round(step["seconds"], 1) for step in steps],
        "proofs": run["proofs"],
        "peak_mb": round(peak / 1e6, 1),
        "bill_mb": round(bill["total"] / 1e6, 1),
        "off": round(bill["total"] / peak - 1, 4),
        "limit_mb": LIMIT / 1e6,
        "within": peak <= LIMIT,
    }
    print(f"peak {figures['peak_mb']} MB, billed {figures['bill_mb']} MB, limit {LIMIT / 1e6} MB", file=sys.stderr)
    return figures
