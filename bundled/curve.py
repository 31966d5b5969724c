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
from accorda.runs.sweep_picture import STYLE
from bundled.adopt import adopt

SIZES = ("0.3m", "1m", "4m")
HERE = Path(__file__).parent
TABLE = HERE / "curve.json"
PICTURE = HERE.parent / "docs" / "images" / "bundled-curve.svg"
TUNED = "#1d66a8"
ROWS = (("tuned", TUNED, "o-"), ("base", "#6b6f9c", "s-"), ("base + 3 examples", "#c25409", "^--"))


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
        adopt(run, copied)  # rounded as the model in the package is
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
    import matplotlib
    from matplotlib.figure import Figure

    sizes = [point["parameters"] for point in points]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.8, 3.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        left.plot(sizes, [point["heldout_nats_per_token"] for point in points], "o-", color=TUNED)
        left.set_title("held-out text: nats per token", loc="left", fontsize=10)
        for name, colour, line in ROWS:
            found = [point["tickets"][name]["rougeL"] for point in points]
            right.plot(sizes, found, line, color=colour, label=name)
        right.set_title("held-out tickets: ROUGE-L", loc="left", fontsize=10)
        right.set_ylim(0, 102)
        right.legend(frameon=False, loc="center right")
        for axes in (left, right):
            axes.set_xscale("log")
            axes.set_xticks(sizes, [f"{size / 1e6:.1f}M" for size in sizes])
            axes.minorticks_off()
            axes.set_xlabel("parameters")
        PICTURE.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(PICTURE, metadata={"Date": None})
