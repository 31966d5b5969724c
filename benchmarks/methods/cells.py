"""The measured cells: one JSON file each, so a stopped sweep goes on where it was."""

import json
import math
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "results" / "methods"
BASE = RESULTS / "base" / "sft.json"


def path_of(folder: Path, cell: dict[str, Any]) -> Path:
    """The file of a cell of a sweep over rates."""
    return folder / cell["stage"] / f"{cell['method']}-{cell['rate']:g}.json"


def write(path: Path, cell: dict[str, Any]) -> None:
    """A cell into its file."""
    write_text(path, json.dumps(cell) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write aside and rename: a file that exists is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".part")
    aside.write_text(text, encoding="utf-8")
    aside.rename(path)


def one(path: Path) -> dict[str, Any]:
    """One cell."""
    return json.loads(path.read_text(encoding="utf-8"))


def read(folder: Path) -> list[dict[str, Any]]:
    """Every cell of a folder, by name."""
    return [one(path) for path in sorted(folder.glob("*.json"))]


def losses(cells: list[dict[str, Any]], method: str) -> dict[float, float]:
    """The evaluation loss of one method by rate; a run that broke down counts as infinite."""
    found = {cell["rate"]: cell["eval_loss"] for cell in cells if cell["method"] == method}
    return {rate: math.inf if loss is None or math.isnan(loss) else loss for rate, loss in found.items()}
