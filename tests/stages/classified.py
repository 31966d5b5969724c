"""Labelled rows and recipes that the tests of classification share."""

from pathlib import Path
from typing import Any

from tests.stages.runs import with_sections, write_rows
from tests.zoo import tiny_model_folder

FRAMED = ("bert", "roberta", "distilbert", "electra", "t5", "bart")
ROWS = [
    {"text": f"{word} number {number}", "label": label}
    for number in range(20)
    for word, label in (("good", "pos"), ("bad", "neg"))
]
NUMBERS = [{"text": f"{'very ' * (number % 4)}good", "label": number % 4 / 2} for number in range(40)]
PAIRS = [
    {"premise": f"clip {number}", "hypothesis": f"{word} clip", "label": label}
    for number in range(15)
    for word, label in (("one", 1), ("no", 0))
]


def settings(
    place: Path, name: str = "run", *, architecture: str = "bert", rows: Any = ROWS, **sections: Any
) -> dict[str, Any]:
    """A recipe of a few steps on a tiny model; sections are merged into it."""
    model = place / architecture
    if not model.is_dir():
        tiny_model_folder(place, architecture, framed=architecture in FRAMED)
    path = write_rows(place / "rows.jsonl", rows)
    recipe: dict[str, Any] = {
        "stage": "classify",
        "model": {"path": str(model)},
        "data": {"train": str(path), "eval_split": 0.2},
        "method": {"name": "lora", "rank": 2},
        "training": {"learning_rate": 0.02, "batch_size": 8, "max_steps": 4, "checkpoint_every": 2, "threads": 1},
        "evaluation": {"every": 2},
        "output": str(place / name),
    }
    return with_sections(recipe, sections)
