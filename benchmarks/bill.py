"""The memory bill against the measured peak: ten runs of a few steps, each in its own process, one after the other.

Models (random weights, up to 160 million parameters), tokenizer and rows are made here. `off` is bill / peak - 1.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SHAPES = {  # width, inner, blocks, heads, heads of keys and values, vocabulary
    "140k": (64, 128, 2, 4, 2, 512),
    "10M": (256, 704, 8, 8, 4, 8192),
    "52M": (512, 1408, 12, 8, 4, 16384),
    "162M": (768, 2048, 12, 12, 12, 50304),
}
STEPS = 4
POINTS = (
    ("140k", "--method lora training.packing=true data.max_length=256"),
    ("140k", "--stage pretrain --method full training.batch_size=4 data.max_length=512"),
    ("10M", "--method full training.packing=false data.max_length=512 training.batch_size=16"),
    ("10M", "--method lora training.precision=bf16 data.max_length=256 training.batch_size=16"),
    ("52M", "--method lora model.quantization=int8 data.max_length=256"),
    ("52M", "--method bitfit training.packing=false data.max_length=256"),
    ("52M", "--stage pretrain --method full training.gradient_checkpointing=true data.max_length=512"),
    ("52M", "--method prompt_tuning data.max_length=256 evaluation.generate=2 evaluation.max_new_tokens=16"),
    ("162M", "--method lora data.max_length=256 training.micro_batch_size=2 training.checkpoint_every=2"),
    (
        "162M",
        "--stage pretrain --method full method.keep_base=false training.precision=bf16 data.max_length=256 "
        "training.batch_size=4",
    ),
)


def make_tokenizer() -> Any:
    """A token per byte, and two special ones."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = {word: number for number, word in enumerate(["<s>", "</s>", *alphabet])}
    raw = Tokenizer(models.BPE(vocab=words, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="</s>")


def make_model(folder: Path, shape: tuple[int, ...]) -> None:
    """Random weights of a Llama in Hugging Face format, with a tokenizer of bytes."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    width, inner, blocks, heads, key_value_heads, vocabulary = shape
    config = LlamaConfig(
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=blocks,
        num_attention_heads=heads,
        num_key_value_heads=key_value_heads,
        vocab_size=vocabulary,
        max_position_embeddings=2048,
        bos_token_id=0,
        eos_token_id=1,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)


def make_rows(path: Path, stage: str) -> None:
    """Rows of 60 to 250 letters, half prompt and half completion, or as text."""
    draw = random.Random(0)
    texts = ["".join(draw.choice("abcdefgh ") for _ in range(draw.randrange(60, 250))) for _ in range(100)]
    rows = [
        {"text": text}
        if stage == "pretrain"
        else {"prompt": text[: len(text) // 2], "completion": text[len(text) // 2 :]}
        for text in texts
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def run(place: Path, number: int) -> dict[str, object]:
    """One point."""
    shape, settings = POINTS[number]
    model, words = place / shape, settings.split()
    stage = words[words.index("--stage") + 1] if "--stage" in words else "sft"
    rows = place / f"{stage}.jsonl"
    make_rows(rows, stage)
    if not model.is_dir():
        make_model(model, SHAPES[shape])
    defaults = {"training.max_steps": STEPS, "training.batch_size": 8, "training.threads": 1}
    given = {word.partition("=")[0] for word in words}
    more = [f"{name}={value}" for name, value in defaults.items() if name not in given]
    command = [sys.executable, "-m", "accorda", "train", "--model", str(model), "--data", str(rows), "--lr", "0.0001"]
    command += ["--output", str(place / str(number)), "--json", *words, *more]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"ACCORDA_CACHE": str(place / "c")})
    result = json.loads(done.stdout)
    peak, bill = result["peak_memory_bytes"], result["bill_bytes"]
    figures = {"peak_mb": round(peak / 1e6, 1), "bill_mb": round(bill / 1e6, 1), "off": round(bill / peak - 1, 4)}
    items = {item["name"]: round(item["bytes"] / 1e6, 1) for item in result["bill"]["items"]}
    return {"model": shape, "settings": settings, **figures, "moment": result["bill"]["moment"], "items_mb": items}


def main() -> dict[str, object]:
    """Every point, and the largest error."""
    points = []
    chosen = [int(number) for number in os.environ.get("POINTS", "").split(",") if number] or range(len(POINTS))
    with tempfile.TemporaryDirectory() as place:
        for number in chosen:
            points.append(run(Path(place), number))
            print(json.dumps(points[-1]), file=sys.stderr, flush=True)
    return {"points": points, "largest_error": max(abs(float(str(point["off"]))) for point in points)}
