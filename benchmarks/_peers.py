"""The peers: TRL's SFTTrainer, transformers' Trainer where there is no decoder, and a loop by hand over transformers.

Adapters are peft's and begin with our numbers. A base stays in the type that the case names, adapters and biases are
fp32, products bf16 under autocast, as ours. Every step is made at a line of standard input.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import _trl
from benchmarks._cases import BATCH, LENGTH, STEPS, Case, chosen, rows_of
from benchmarks._in_turn import serve

Row = dict[str, Any]


def loaded(place: Path, case: Case) -> Any:
    """The base with what trains."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoModelForSequenceClassification

    kinds = {"bert": AutoModelForSequenceClassification, "t5": AutoModelForSeq2SeqLM}
    kind = kinds.get(case.shape, AutoModelForCausalLM)
    base = kind.from_pretrained(place / "model", dtype=getattr(torch, case.base))
    if case.method["name"] == "bitfit":
        base.requires_grad_(False)
        for name, parameter in base.named_parameters():
            if name.endswith(".bias"):
                parameter.data = parameter.data.float()
                parameter.requires_grad_(True)
    if case.method["name"] in ("full", "bitfit"):
        return base
    if case.method["name"] != "prompt_tuning":
        return PeftModel.from_pretrained(base, str(place / "start"), is_trainable=True)
    model = PeftModel.from_pretrained(base, str(place / "start"))  # peft loads prompts frozen alone
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith("prompt_encoder."))
    return model


def collate(rows: list[Row], pad: int = 0) -> dict[str, Any]:
    """Rows side by side, padded on the right."""
    import torch

    def padded(name: str, fill: int) -> Any:
        longest = max(len(row[name]) for row in rows)
        return torch.tensor([row[name] + [fill] * (longest - len(row[name])) for row in rows])

    ids = [len(row["input_ids"]) for row in rows]
    on = torch.tensor([[1] * length + [0] * (max(ids) - length) for length in ids])
    whole = isinstance(rows[0]["labels"], list)
    labels = padded("labels", -100) if whole else torch.tensor([row["labels"] for row in rows])
    return {"input_ids": padded("input_ids", pad), "attention_mask": on, "labels": labels}


def tokens(rows: list[Row]) -> int:
    """Tokens of rows, padding left out: as ours counts them."""
    answers = [row["labels"] for row in rows if isinstance(row["labels"], list)]
    own = sum(len(row["input_ids"]) for row in rows)
    apart = any(len(row["labels"]) != len(row["input_ids"]) for row in rows if isinstance(row["labels"], list))
    return own + sum(map(len, answers)) if apart else own


def hand(place: Path) -> None:
    """The rows in the same order."""
    by_hand(place, rows_of(place))


def grouped(place: Path) -> None:
    """The same rows, sorted by their length over the whole run."""
    rows = sorted((row for step in rows_of(place) for row in step), key=lambda row: len(row["input_ids"]))
    batches = [rows[at : at + BATCH] for at in range(0, len(rows), BATCH)]
    by_hand(place, batches[::2] + batches[1::2][::-1])  # long ones in the middle, so that none are dropped


def by_hand(place: Path, steps: list[list[Row]]) -> None:
    """Padded batches, autocast, AdamW."""
    import torch

    case = chosen(place)
    model = loaded(place, case)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=case.rate, weight_decay=0.0, fused=True)
    model.train()

    def step(number: int) -> dict[str, float]:
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(**collate(steps[number])).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return {"loss": float(loss.detach()), "tokens": tokens(steps[number])}

    serve(step)


def trl(place: Path) -> None:
    """The trainer over the rows in the same order, which waits for a line before every step."""
    in_trainer(place, False)


def packed(place: Path) -> None:
    """TRL with `packing=True`: it joins the rows to lines of its own choice, and takes as many tokens a step."""
    in_trainer(place, True)


def in_trainer(place: Path, packing: bool) -> None:
    """A trainer that makes a step at every line."""
    seen: list[int] = []
    case = chosen(place)
    make = _trl.trainer if case.shape == "llama" else _trl.plain_trainer
    steps = rows_of(place)
    rows = [row for step in steps for row in step]
    lines = max(1, round(sum(tokens(step) for step in steps) / STEPS / LENGTH))
    trainer = make(
        loaded(place, case),
        place / "model",
        rows,
        packing=packing,
        output_dir=str(place / "trainer"),
        max_steps=STEPS,
        per_device_train_batch_size=lines if packing else BATCH,
        learning_rate=case.rate,
        save_strategy="no",
        bf16=True,
        disable_tqdm=True,
        **({"max_length": LENGTH} if packing else {}),
    )
    trainer.data_collator = _counting(trainer.data_collator, seen, case)
    _trl.serve_steps(trainer, more=lambda step: {"tokens": seen[step - 1]})


def _counting(collator: Callable[[list[Row]], Any], seen: list[int], case: Case) -> Callable[[list[Row]], Any]:
    """The collator, which also notes how many tokens it was handed; not a decoder's rows are collated here."""

    def collated(rows: list[Row]) -> Any:
        seen.append(tokens(rows))
        return collator(rows) if case.shape == "llama" else collate(rows)

    return collated
