"""What the benchmarks beside TRL and transformers train: a model's shape, a method, rows; and our side of it."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks._in_turn import serve
from benchmarks.qlora_vs_peft import BATCH, LENGTH, RANK, RATE, SHARED, STEPS

CHOSEN = "case.json"  # which case a side measures
GSM8K = {"train": str(SHARED / "data/gsm8k/train.jsonl"), "columns": {"prompt": "question", "completion": "answer"}}


@dataclass(frozen=True)
class Case:
    """A method on a model. `biased`: the linears have biases. `base`: the type a peer keeps its base in."""

    method: dict[str, Any]
    shape: str = "llama"
    biased: bool = False
    base: str = "bfloat16"
    rate: float = RATE
    stage: str = "sft"
    data: dict[str, Any] = field(default_factory=lambda: GSM8K)


LORA = {"name": "lora", "rank": RANK, "alpha": 2 * RANK}
CASES = {
    "lora": Case(LORA),
    "full": Case({"name": "full"}, base="float32", rate=2e-5),
    "bitfit": Case({"name": "bitfit", "only_existing": True}, biased=True, rate=1e-3),
    "dora": Case({"name": "dora", "rank": RANK, "alpha": 2 * RANK}),
    "prompt_tuning": Case({"name": "prompt_tuning"}, rate=1e-2),
    "classify": Case(LORA, shape="bert", stage="classify", data={"columns": {"text": "text", "label": "label"}}),
    "t5": Case(LORA, shape="t5"),
}


def make_model(folder: Path, case: Case) -> None:
    """Random weights in bf16: a Llama of 162 million parameters, a BERT of 124, a T5 of 110."""
    import torch
    from transformers import (
        AutoTokenizer,
        BertConfig,
        BertModel,
        LlamaConfig,
        LlamaForCausalLM,
        PreTrainedTokenizerFast,
        T5Config,
        T5ForConditionalGeneration,
    )

    torch.manual_seed(0)
    if case.shape == "t5":
        file = str(SHARED / "data/tokenizers/t5/tokenizer.json")
        tokenizer = PreTrainedTokenizerFast(tokenizer_file=file, eos_token="</s>", pad_token="<pad>", unk_token="<unk>")
        config = T5Config(
            d_model=768,
            d_ff=3072,
            num_heads=12,
            num_layers=6,
            num_decoder_layers=6,
            vocab_size=32128,
            dropout_rate=0.0,
            decoder_start_token_id=0,
        )
        model: Any = T5ForConditionalGeneration(config)
    else:
        tokenizer = AutoTokenizer.from_pretrained(SHARED / "data/tokenizers/gpt2")
        tokenizer.add_special_tokens({"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"})
        wide = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "vocab_size": len(tokenizer)}
        ends = {"bos_token_id": tokenizer.eos_token_id, "eos_token_id": tokenizer.eos_token_id}
        if case.shape == "bert":
            none = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
            config = BertConfig(**wide, intermediate_size=3072, pad_token_id=tokenizer.eos_token_id, **none)
            model = BertModel(config)  # its head is new on every side, and begins as ours
        else:
            biases = {"attention_bias": case.biased, "mlp_bias": case.biased}
            sizes = {"intermediate_size": 2048, "max_position_embeddings": 1024, "tie_word_embeddings": False}
            model = LlamaForCausalLM(LlamaConfig(**wide, **sizes, **ends, **biases))
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def recipe(place: Path, case: Case, steps: int = STEPS) -> dict[str, Any]:
    """What accorda trains."""
    data = dict(case.data)
    if case.shape == "bert":
        data["train"] = str(place / "rows.jsonl")
        lines = (SHARED / "data/sst2_sentences/train.tsv").read_text(encoding="utf-8").splitlines()
        rows = [dict(zip(("text", "label"), line.rsplit("\t", 1), strict=True)) for line in lines[: BATCH * steps]]
        (place / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    limits = {"limit": BATCH * steps, "eval_split": 0.0, "max_length": LENGTH}
    return {
        "stage": case.stage,
        "model": {"path": str(place / "model")},
        "data": {**data, **limits, "overlong": "truncate"},
        "method": case.method,
        "training": {
            "batch_size": BATCH,
            "learning_rate": case.rate,
            "schedule": "constant",
            "warmup_steps": 0,
            "max_grad_norm": 1.0,
            "precision": "bf16",
            "epochs": 1,
        },
        "output": str(place / "run"),
    }


def chosen(place: Path) -> Case:
    """The case that this place is for."""
    return CASES[json.loads((place / CHOSEN).read_text(encoding="utf-8"))]


def ours(place: Path) -> None:
    """Write the start and the rows, then make a step at every line of standard input."""
    from accorda.methods.storage import save_adapter
    from accorda.recipe.load import load
    from accorda.stages.build import build

    case = chosen(place)
    session = build(load(recipe(place, case)))
    if case.method["name"] not in ("full", "bitfit"):  # whose start is the base itself
        save_adapter(session.model, place / "start")
    steps = [[plain(session.train[int(row)]) for row in session.batches.rows(step)] for step in range(STEPS)]
    (place / "steps.json").write_text(json.dumps(steps), encoding="utf-8")

    def step(_: int) -> dict[str, float]:
        told = session.loop.step()
        return {"loss": told["loss"], "tokens": told["tokens"]}

    serve(step)


def plain(segment: Any) -> dict[str, Any]:
    """A row as a peer takes it: ids, and labels or a label."""
    from accorda.data.batch import pack_batch
    from accorda.data.labelled.batch import LabelledSegment

    if isinstance(segment, LabelledSegment):
        return {"input_ids": segment.input_ids.tolist(), "labels": int(segment.label)}
    if segment.encoder_length:
        return {"input_ids": segment.encoder_ids.tolist(), "labels": segment.decoder_ids[1:].tolist()}
    row = pack_batch([segment])
    return {"input_ids": row.input_ids[0].tolist(), "labels": row.labels[0].tolist()}


def rows_of(place: Path) -> list[list[dict[str, Any]]]:
    """The rows of every step."""
    return json.loads((place / "steps.json").read_text(encoding="utf-8"))


def asked_for(known: list[str]) -> list[str]:
    """The cases to measure: those that CASES names, or all that are known."""
    return [name for name in known if name in os.environ.get("CASES", ",".join(known)).split(",")]
