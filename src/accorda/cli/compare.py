"""Put complete runs side by side: quality with intervals, parameters, time, memory.

The first run is the baseline, and the folder of a sweep stands for its runs. `--picture FILE` draws quality against
trained parameters.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accorda.cli.terminal.facts import blocks
from accorda.cli.terminal.new_file import picture_file
from accorda.cli.terminal.outcome import Outcome
from accorda.cli.terminal.table import table
from accorda.errors import Refusal
from accorda.runs.figures import duration, size
from accorda.runs.story import told_broken

SIDE = {"rouge1", "rouge2"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The runs, and a picture."""
    parser.add_argument("runs", nargs="+", metavar="RUN", help="complete runs, or the folder of a sweep")
    parser.add_argument("--picture", metavar="FILE", help="draw quality against trained parameters (.svg, .png, .pdf)")
    parser.add_argument("--metric", metavar="M", help="which metric to draw; default: the first that is no loss")


def run(arguments: argparse.Namespace) -> Outcome:
    """The table, and the picture where one is wanted."""
    from accorda.runs.comparison import compare
    from accorda.runs.comparison_picture import draw

    if arguments.metric and not arguments.picture:
        raise Refusal(f"--metric = {arguments.metric}: chooses what --picture draws; name a file with --picture")
    picture = picture_file(arguments.picture) if arguments.picture else None
    found = compare([Path(path).expanduser() for path in arguments.runs])
    if picture is not None:
        draw(found, picture, arguments.metric)
        found["picture"] = arguments.picture
    return Outcome(result=found, text=blocks([compared(found), about(found)]))


def compared(found: Mapping[str, Any]) -> str:
    """A line per run; `*` marks a metric whose interval has nothing in common with the baseline's."""
    metrics = [name for name in found["metrics"] if name not in SIDE or "rougeL" not in found["metrics"]]
    rows = [
        (
            row["run"],
            row["method"],
            row["trainable_parameters"],
            row["kept_parameters"],
            None if row["train_seconds"] is None else duration(row["train_seconds"]),
            None if row["peak_memory_bytes"] is None else size(row["peak_memory_bytes"]),
            *(shown(row["metrics"].get(name)) for name in metrics),
        )
        for row in found["runs"]
    ]
    return table(("run", "method", "trained", "kept", "time", "memory", *metrics), rows)


def shown(metric: Mapping[str, Any] | None) -> str | None:
    """`0.91 [0.88, 0.94] +0.12*`."""
    if metric is None or metric["value"] is None:
        return None
    bounds = "" if metric["low"] is None else f" [{metric['low']:.4g}, {metric['high']:.4g}]"
    difference = f" {metric['difference']:+.2g}" if metric["difference"] else ""
    return f"{metric['value']:.4g}{bounds}{difference}{'*' if metric['apart'] else ''}"


def about(found: Mapping[str, Any]) -> str:
    """What must be known to read the table."""
    lines = [f"baseline: {found['baseline']}; + and - are differences from it"]
    if any(row["held_out_rows"] for row in found["runs"]):
        lines += [f"measured on {rows_of(found)}; [95% intervals over those rows]"]
    if any(metric["apart"] for row in found["runs"] for metric in row["metrics"].values()):
        lines += ["* this interval and the baseline's have nothing in common"]
    if "eval_loss" in found["metrics"] and not found["losses_alike"]:
        lines += ["eval_loss is of different stages or algorithms: one that is not the baseline's shows no difference"]
    if "picture" in found:
        lines += [f"picture: {found['picture']}"]
    return "\n".join([*lines, *told_broken(found["broken"])])


def rows_of(found: Mapping[str, Any]) -> str:
    """How many held-out rows, and of which run where they are not the same."""
    if found["held_out"]["same"]:
        rows = found["held_out"]["rows"]
        number = "an unknown number of" if rows is None else f"{rows:,}"
        return f"{number} held-out rows, the same for every run"
    counts = ", ".join(f"{row['held_out_rows'] or 'unknown'} of {row['run']}" for row in found["runs"])
    how = "one measured on others than the baseline shows no difference"
    return f"held-out rows that are NOT the same for every run ({counts}): {how}"
