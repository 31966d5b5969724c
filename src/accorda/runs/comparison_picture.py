"""The picture of a comparison: quality against trained parameters, a point with its interval per run."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accorda.errors import Refusal
from accorda.runs.sections.names import BESIDE, metric_name, metric_unit
from accorda.runs.sweep_picture import COLORS, STYLE, bound, save

FORMATS = (".svg", ".png", ".pdf")


def draw(found: Mapping[str, Any], path: Path, metric: str | None = None) -> None:
    """Write the picture of one metric; the first one that is not beside others unless named.

    Raises:
        Refusal: no such metric; a file type that cannot be drawn; no such folder.
    """
    known = [name for name in found["metrics"] if name not in BESIDE]
    if path.suffix not in FORMATS:
        raise Refusal(f"--picture = {path}: the name must end in {', '.join(FORMATS)}")
    if not path.parent.is_dir():
        raise Refusal(f"--picture = {path}: there is no folder {path.parent}")
    if metric is not None and metric not in found["metrics"]:
        raise Refusal(f"--metric = {metric}: these runs report {', '.join(found['metrics']) or 'nothing'}")
    chosen = metric or next(iter([*(name for name in known if "loss" not in name), *known]), None)
    if chosen is None:
        raise Refusal("--picture: these runs were not evaluated, so there is no quality to draw")
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.0, 4.2), layout="constrained")
        panel = figure.subplots()
        points = [row for row in found["runs"] if chosen in row["metrics"] and row["trainable_parameters"]]
        sizes = [row["trainable_parameters"] for row in points] or [1]
        middle = math.sqrt(min(sizes) * max(sizes))  # of a logarithmic axis; names stay inside on both sides of it
        for number, row in enumerate(points):
            right = row["trainable_parameters"] > middle
            point(panel, row, row["metrics"][chosen], COLORS[number % len(COLORS)], right=right)
        panel.set_xscale("log")
        panel.margins(x=0.15)
        panel.set_xlabel("trained parameters")
        panel.set_title(f"{metric_name(chosen)}, {metric_unit(chosen)}", loc="left", fontsize=10.5)
        save(figure, path)


def point(panel: Any, row: Mapping[str, Any], found: Mapping[str, Any], color: str, *, right: bool) -> None:
    """One run, named; `right`: it stands in the right half."""
    x, y = row["trainable_parameters"], found["value"]
    panel.errorbar([x], [y], yerr=[[bound(found, "low")], [bound(found, "high")]], color=color, marker="o", capsize=3)
    place: Any = {"textcoords": "offset points", "fontsize": 9, "color": color}
    panel.annotate(row["run"], (x, y), **({"xytext": (-7, 6), "ha": "right"} if right else {"xytext": (7, 6)}), **place)
