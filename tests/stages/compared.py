"""Rows of compared answers and recipes that the tests of stages reward and preference share."""

from pathlib import Path
from typing import Any

from tests.stages.runs import with_sections, write_rows
from tests.zoo import tiny_model_folder

PAIRS = [
    {"prompt": f"{a} plus {b} is ", "chosen": str(a + b), "rejected": f"not {a * b} at all"}
    for a in range(8)
    for b in range(5)
]
RANKED = [
    {"prompt": f"{a} plus {b} is ", "completions": [f"about {a}", str(a + b), "who knows", "no"], "ranks": [2, 1, 3, 3]}
    for a in range(5)
    for b in range(4)
]
THUMBS = [
    {"prompt": f"{a} plus {b} is ", "completion": str(a + b * good), "label": bool(good)}
    for a in range(6)
    for b in range(1, 4)
    for good in (0, 1)
]


def settings(
    place: Path, name: str = "run", *, architecture: str = "llama", rows: Any = PAIRS, **sections: Any
) -> dict[str, Any]:
    """A recipe of a few steps on a tiny model; sections are merged into it."""
    model = place / architecture
    if not model.is_dir():
        tiny_model_folder(place, architecture)
    path = write_rows(place / f"{name}.jsonl", rows)
    recipe: dict[str, Any] = {
        "stage": "preference",
        "model": {"path": str(model)},
        "data": {"train": str(path), "eval_split": 0.2},
        "method": {"name": "lora", "rank": 2},
        "training": {"learning_rate": 0.01, "batch_size": 8, "max_steps": 4, "checkpoint_every": 2, "threads": 1},
        "evaluation": {"every": 2},
        "output": str(place / name),
    }
    return with_sections(recipe, sections)
