"""Quality against size: each pre-trained shape on held-out text, and on held-out tickets before and after LoRA."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import accorda
from accorda.cli.demo import METRICS, recipe
from accorda.evaluation.report import report
from accorda.methods.open import open_model
from accorda.runs.layout import RunFolder

SIZES = ("0.3m", "1m", "4m")
HERE = Path(__file__).parent
TABLE = HERE / "curve.json"
PICTURE = HERE.parent / "docs" / "images" / "bundled-curve.svg"


def draw(build: Path) -> None:
    """Measure every size that has a complete run under `build`; write the table and the picture."""
    points = [point(build / size) for size in SIZES]
    TABLE.write_text(json.dumps(points, indent=2) + "\n", encoding="utf-8")
    picture(points)


def point(run: Path) -> dict[str, Any]:
    """One size: parameters, loss on held-out text in nats per token, exact match and ROUGE-L of base and tuned."""
    model = accorda.load_model(run)
    result = json.loads(RunFolder(run).result.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as scratch:
        copied = shutil.copytree(RunFolder(run).model, Path(scratch) / "model")
        settings = recipe("tickets", str(Path(scratch) / "run"))
        settings["model"]["path"] = str(copied)
        accorda.train(settings)
        found = report(
            open_model(settings["output"]), "bundled:tickets-heldout", METRICS, batch_size=32, max_new_tokens=64
        )
    rows = {row["name"]: {name: value["value"] for name, value in row["metrics"].items()} for row in found["rows"]}
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "heldout_nats_per_token": result["eval_loss"],
        "pretraining_tokens": result["tokens"],
        "tickets": rows,
    }


def picture(points: list[dict[str, Any]]) -> None:
    """Two panels over a logarithmic axis of parameters."""
    from matplotlib.figure import Figure

    sizes = [point["parameters"] for point in points]
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(sizes, [point["heldout_nats_per_token"] for point in points], "o-", color="#1f6feb")
    left.set_ylabel("nats per token, held-out text")
    for name, colour in (("base", "#888888"), ("base + 3 examples", "#d29922"), ("tuned", "#1f6feb")):
        right.plot(sizes, [point["tickets"][name]["exact_match"] for point in points], "o-", color=colour, label=name)
    right.set_ylabel("exact match, held-out tickets")
    right.legend(frameon=False)
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_xlabel("parameters")
        axes.spines[["top", "right"]].set_visible(False)
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PICTURE)
