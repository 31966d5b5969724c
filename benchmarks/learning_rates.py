"""Which learning rate does each method want? Five rates, 600 rows, one epoch; the lowest evaluation loss wins.

The table goes to `src/accorda/stages/learning_rates.json`, where `learning_rate: auto` reads it. Cells are kept in
`benchmarks/results/learning_rates/`, one JSON each, so a stopped sweep goes on where it was.

Model and data: stories260K and GSM8K from the folder with real models and data (`ACCORDA_SHARED`, or `../shared`).
"""

import datetime
import json
import os
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
SHARED = Path(os.environ.get("ACCORDA_SHARED") or HERE.parent.parent / "shared")
CELLS = HERE / "results" / "learning_rates"
TABLE = HERE.parent / "src" / "accorda" / "stages" / "learning_rates.json"
ROWS, FACTOR = 600, 3.0
CENTRES = {  # where the literature begins to look, for models of ordinary size; the sweep goes up from there
    "lora": 1e-3,
    "full": 5e-4,
    "bitfit": 5e-3,
    "layernorm": 5e-3,
    "prompt_tuning": 3e-2,
    "attention_fusion": 5e-3,
}


def rates(centre: float) -> list[float]:
    """Five rates around a centre, a factor of about three apart."""
    return [float(f"{centre * FACTOR**power:.1g}") for power in (-2, -1, 0, 1, 2)]


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
    from accorda.recipe.load import load
    from accorda.runs.events import read
    from accorda.stages import train

    with tempfile.TemporaryDirectory() as place:
        recipe = load(settings(stage, method, rate) | {"output": f"{place}/run"})
        run = train(recipe)
        before = next(
            event["eval_loss"] for event in read(f"{place}/run/events.jsonl") if event["event"] == "evaluation"
        )
    found = {"stage": stage, "method": method, "rate": rate, "before": before, "after": run.result["eval_loss"]}
    CELLS.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found) + "\n", encoding="utf-8")
    return found


def main() -> dict[str, object]:
    """The table, and every cell it was drawn from."""
    table: dict[str, dict[str, object]] = {}
    cells = []
    origin = f"measured on stories260K, {ROWS} rows, one epoch, {datetime.date.today().isoformat()}"
    for stage in ("sft", "pretrain"):
        for method, centre in CENTRES.items():
            row = [cell(stage, method, rate) for rate in rates(centre)]
            best = min(row, key=lambda found: float(str(found["after"])))
            table.setdefault(stage, {})[method] = {"rate": best["rate"], "origin": origin}
            cells += row
    aside = TABLE.with_suffix(".part")
    aside.write_text(json.dumps({"rates": table}, indent=2) + "\n", encoding="utf-8")
    aside.rename(TABLE)
    return {"rates": table, "cells": cells}
