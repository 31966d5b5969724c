"""Which learning rate does each method want? Four rates, 400 rows, one epoch; the lowest evaluation loss wins.

The table goes to `src/accorda/stages/learning_rates.json`, where `learning_rate: auto` reads it. Cells are kept in
`benchmarks/results/learning_rates/`, one JSON each, so a stopped sweep goes on where it was.

Model and data: stories260K and GSM8K from the folder with real models and data (`ACCORDA_SHARED`, or `../shared`).
"""

import datetime
import json
import os
import tempfile
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
SHARED = Path(os.environ.get("ACCORDA_SHARED") or HERE.parent.parent / "shared")
CELLS = HERE / "results" / "learning_rates"
TABLE = HERE.parent / "src" / "accorda" / "stages" / "learning_rates.json"
ROWS, FACTOR = 400, 3.0
STARTS = {  # the lowest rate tried, by stage and method; each next one is three times as high
    "sft": {
        "lora": 1e-3,
        "rslora": 1e-3,
        "lora_plus": 3e-4,
        "dora": 1e-3,
        "pissa": 3e-4,
        "adalora": 1e-2,
        "vera": 1e-2,
        "krona": 1e-3,
        "full": 3e-4,
        "bitfit": 3e-3,
        "layernorm": 3e-3,
        "prompt_tuning": 1e-2,
        "prefix_tuning": 1e-3,
        "p_tuning": 3e-3,
        "attention_fusion": 1e-3,
        "houlsby": 1e-3,
        "pfeiffer": 1e-3,
        "parallel_adapter": 1e-3,
        "compacter": 3e-3,
        "compacter_plus": 3e-3,
        "krona_b": 1e-3,
        "krona_b_res": 1e-3,
        "ia3": 1e-2,
        "top_layers": 1e-3,
        "rows": 1e-2,
    },
    "pretrain": {"full": 3e-4},
}
NUM_RATES = 4


def rates(lowest: float) -> list[float]:
    """Four rates, a factor of about three apart."""
    return [float(f"{lowest * FACTOR**power:.1g}") for power in range(NUM_RATES)]


def settings(stage: str, method: str, rate: float) -> dict[str, object]:
    """One run."""
    data: dict[str, object] = {"limit": ROWS, "eval_split": 0.1}
    if stage == "sft":
        data |= {
            "train": str(SHARED / "data/gsm8k/train.jsonl"),
            "columns": {"prompt": "question", "completion": "answer"},
        }
    else:
        data |= {"train": str(SHARED / "data/tinyshakespeare/input.txt")}
    return {
        "stage": stage,
        "model": {"path": str(SHARED / "models/stories260K")},
        "data": data,
        "method": {"name": method},
        "training": {
            "learning_rate": rate,
            "batch_size": 16,
            "threads": 1,
            "max_steps": 40 if stage == "pretrain" else None,
        },
        "evaluation": {"every": 1000},
    }


def cell(stage: str, method: str, rate: float) -> dict[str, object]:
    """The evaluation losses of one run, from its file where there is one."""
    path = CELLS / f"{stage}-{method}-{rate:g}.json"
    if path.exists():
        return json.loads(path.read_text(encoding="utf-8"))
    from accorda.evaluation.during_training import evaluator
    from accorda.recipe.load import load
    from accorda.stages.build import STEPS_NOTE, build

    with tempfile.TemporaryDirectory() as place:
        session = build(load(settings(stage, method, rate) | {"output": f"{place}/run"}))
        evaluate = evaluator(session)
        assert evaluate is not None
        before = evaluate()["eval_loss"]
        for _ in range(session.notes[STEPS_NOTE]):
            session.loop.step()
        found = {"stage": stage, "method": method, "rate": rate, "before": before, "after": evaluate()["eval_loss"]}
    CELLS.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found) + "\n", encoding="utf-8")
    return found


def main() -> dict[str, object]:
    """The table, and every cell it was drawn from."""
    torch.set_num_threads(1)
    table: dict[str, dict[str, object]] = {}
    cells = []
    origin = f"measured on stories260K, {ROWS} rows, one epoch, {datetime.date.today().isoformat()}"
    for stage, methods in STARTS.items():
        for method, lowest in methods.items():
            row = [cell(stage, method, rate) for rate in rates(lowest)]
            best = min(row, key=lambda found: float(str(found["after"])))
            table.setdefault(stage, {})[method] = {"rate": best["rate"], "origin": origin}
            cells += row
    aside = TABLE.with_suffix(".part")
    whole = json.loads(TABLE.read_text(encoding="utf-8"))
    whole["small"]["rates"] = table
    aside.write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
    aside.rename(TABLE)
    return {"rates": table, "cells": cells}
