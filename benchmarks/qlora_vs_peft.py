"""QLoRA beside peft + bitsandbytes: the same NF4 codes, adapter at the start and rows, a step of each in turn.

A Llama of 162 million parameters (width 768, 12 blocks, GPT-2's vocabulary, untied, random weights), GSM8K, rank 16
on all linears, bf16 compute, 8 rows a step of at most 512 tokens, no checkpointing on either side. The peer is a loop
by hand over transformers, peft and bitsandbytes: padded batches, the loss over answer tokens, AdamW. Each side is a
process of its own; they make their steps in turn, so that both meet the same machine. The first steps are dropped.

Needs the folder with real data (`ACCORDA_SHARED`, or `../shared`), peft and bitsandbytes. STEPS says how many.
"""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from benchmarks._in_turn import measured, serve

SHARED = Path(os.environ.get("ACCORDA_SHARED") or Path(__file__).resolve().parents[2] / "shared")
STEPS, DROPPED = int(os.environ.get("STEPS", "8")), 2
BATCH, LENGTH, RANK, RATE = 8, 512, 16, 2e-4
SIDES = {"accorda": "ours", "peft": "theirs"}  # and the function that is one


def make_model(folder: Path) -> None:
    """Random weights in bf16, with GPT-2's tokenizer."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(SHARED / "data/tokenizers/gpt2")
    tokenizer.add_special_tokens({"eos_token": "<|endoftext|>"})
    config = LlamaConfig(
        hidden_size=768,
        intermediate_size=2048,
        num_hidden_layers=12,
        num_attention_heads=12,
        vocab_size=len(tokenizer),
        max_position_embeddings=1024,
        bos_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def recipe(model: Path, output: Path, number_format: str = "nf4") -> dict[str, Any]:
    """What accorda trains."""
    return {
        "model": {"path": str(model), "quantization": number_format},
        "data": {
            "train": str(SHARED / "data/gsm8k/train.jsonl"),
            "columns": {"prompt": "question", "completion": "answer"},
            "limit": BATCH * STEPS,
            "eval_split": 0.0,
            "max_length": LENGTH,
            "overlong": "truncate",
        },
        "method": {"name": "lora", "rank": RANK, "alpha": 2 * RANK},
        "training": {
            "batch_size": BATCH,
            "learning_rate": RATE,
            "schedule": "constant",
            "warmup_steps": 0,
            "max_grad_norm": 1.0,
            "precision": "bf16",
            "epochs": 1,
        },
        "output": str(output),
    }


def ours(place: Path) -> None:
    """Write the start and the rows, then make a step at every line of standard input."""
    begin(place, "nf4")


def begin(place: Path, number_format: str) -> None:
    """What `ours` does, on a base in a number format."""
    from accorda.data.batch import pack_batch
    from accorda.methods.storage import save_adapter
    from accorda.recipe.load import load
    from accorda.stages.build import build

    session = build(load(recipe(place / "model", place / "run", number_format)))
    save_adapter(session.model, place / "start")
    steps = []
    for step in range(STEPS):
        rows = [pack_batch([session.train[int(row)]]) for row in session.batches.rows(step)]
        steps.append([{"ids": row.input_ids[0].tolist(), "labels": row.labels[0].tolist()} for row in rows])
    (place / "steps.json").write_text(json.dumps(steps), encoding="utf-8")
    serve(lambda _: session.loop.step()["loss"])


def theirs(place: Path) -> None:
    """The peer."""
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    packed = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    base = AutoModelForCausalLM.from_pretrained(
        place / "model", quantization_config=packed, dtype=torch.bfloat16, device_map="cpu"
    )
    by_hand(place, base)


def by_hand(place: Path, base: Any) -> None:
    """A loop over a model of transformers with peft's adapter: padded batches, autocast, AdamW."""
    import torch
    from peft import PeftModel

    model = PeftModel.from_pretrained(base, str(place / "start"), is_trainable=True)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=RATE, weight_decay=0.0, fused=True)
    steps = json.loads((place / "steps.json").read_text(encoding="utf-8"))
    model.train()

    def step(number: int) -> float:
        rows = steps[number]
        longest = max(len(row["ids"]) for row in rows)
        padded = {
            key: torch.full((len(rows), longest), fill) for key, fill in (("ids", 0), ("labels", -100), ("on", 0))
        }
        for at, row in enumerate(rows):
            length = len(row["ids"])
            padded["ids"][at, :length] = torch.tensor(row["ids"])
            padded["labels"][at, :length] = torch.tensor(row["labels"])
            padded["on"][at, :length] = 1
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(input_ids=padded["ids"], attention_mask=padded["on"], labels=padded["labels"]).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return float(loss.detach())

    serve(step)


def main() -> dict[str, object]:
    """Both sides in turn."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        make_model(place / "model")
        found = measured(__name__, SIDES, place, STEPS, DROPPED)
    seconds, peaks, losses = found.seconds, found.peaks, found.losses
    return {
        "steps": STEPS,
        **found.figures(),
        "times_as_fast": round(seconds["peft"] / seconds["accorda"], 3),
        "share_of_memory": round(peaks["accorda"] / peaks["peft"], 3),
        "largest_difference_of_loss": max(abs(a - b) for a, b in zip(*losses.values(), strict=True)),
    }
