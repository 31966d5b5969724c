"""A tiny model, rows and recipes that the tests of whole runs share."""

import json
from pathlib import Path
from typing import Any

from tests.zoo import tiny_model_folder

SUMS = [{"prompt": f"{a} plus {b} is ", "completion": str(a + b)} for a in range(8) for b in range(5)]


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Rows as jsonl."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def settings(
    place: Path, name: str = "run", *, architecture: str = "llama", **sections: dict[str, Any]
) -> dict[str, Any]:
    """A recipe of a few steps on a tiny model; sections are merged into it."""
    model = place / architecture
    if not model.is_dir():
        tiny_model_folder(place, architecture)
    rows = place / "rows.jsonl"
    if not rows.exists():
        write_rows(rows, SUMS)
    recipe: dict[str, Any] = {
        "stage": "sft",
        "model": {"path": str(model)},
        "data": {"train": str(rows), "eval_split": 0.1},
        "method": {"name": "lora", "rank": 2},
        "training": {"learning_rate": 0.01, "batch_size": 8, "max_steps": 4, "checkpoint_every": 2, "threads": 1},
        "evaluation": {"every": 2},
        "output": str(place / name),
    }
    return with_sections(recipe, sections)


def with_sections(recipe: dict[str, Any], sections: dict[str, Any]) -> dict[str, Any]:
    """The recipe with sections merged into its own; a method takes the place of the one that is there."""
    for section, values in sections.items():
        merges = isinstance(recipe.get(section), dict) and section != "method"
        recipe[section] = {**recipe[section], **values} if merges else values
    return recipe
