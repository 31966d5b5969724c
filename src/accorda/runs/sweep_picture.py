"""The picture of a sweep: a panel per metric, a point with its interval per run, the base as a level."""

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from accorda.runs.files import write_bytes
from accorda.runs.sections.names import BESIDE, metric_name, metric_unit
from accorda.runs.story import is_number

MOST_PANELS = 6
MANY_TIMES = 10
COLORS = ("#1d66a8", "#c25409", "#3d7a52", "#8b4fa0", "#b08a12", "#2b8a8a", "#a8434a", "#6b6f9c")
STYLE: Any = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8a867c",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "#e4e1da",
    "svg.hashsalt": "accorda",
    "svg.fonttype": "none",
}
Rows = Sequence[Mapping[str, Any]]


def draw(record: Mapping[str, Any], svg: Path, png: Path) -> bool:
    """Write the picture in both formats; False where no run has a metric yet."""
    rows = [row for row in record["runs"] if row["metrics"]]
    metrics = [name for name in record["metrics"] if name not in BESIDE][:MOST_PANELS]
    if not rows or not metrics:
        return False
    import matplotlib
    from matplotlib.figure import Figure

    across, *others = record["axes"]
    with matplotlib.rc_context(STYLE):
        columns = min(3, len(metrics))
        height = math.ceil(len(metrics) / columns)
        figure = Figure(figsize=(4.2 * columns + 0.4, 3.5 * height + 0.3), layout="constrained")
        panels = figure.subplots(height, columns, squeeze=False).flat
        for number, (panel, metric) in enumerate(zip(panels, metrics, strict=False)):
            draw_panel(panel, metric, rows, across, others, record["base"], first=number == 0)
        for panel in list(panels)[len(metrics) :]:
            panel.set_visible(False)
        for path in (svg, png):
            save(figure, path)
    return True


def save(figure: Any, path: Path) -> None:
    """Write a figure whole, in the format of the file's name; the same picture gives the same file."""
    buffer = io.BytesIO()
    dated: Any = {"metadata": {"Date": None}} if path.suffix == ".svg" else {}
    figure.savefig(buffer, format=path.suffix[1:], facecolor="white", dpi=144, **dated)
    write_bytes(path, buffer.getvalue())


def draw_panel(
    panel: Any,
    metric: str,
    rows: Rows,
    across: Mapping[str, Any],
    others: Rows,
    base: Mapping[str, Any],
    *,
    first: bool,
) -> None:
    """One metric over the first setting, a line for every combination of the others."""
    places = positions(across["values"])
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(", ".join(f"{last(axis)} {row['values'][axis['setting']]}" for axis in others), []).append(
            row
        )
    for number, (name, group) in enumerate(groups.items()):
        known = [
            (places[key(row["values"][across["setting"]])], row["metrics"][metric])
            for row in group
            if metric in row["metrics"]
        ]
        errors = [[bound(found, "low") for _, found in known], [bound(found, "high") for _, found in known]]
        panel.errorbar(
            [place for place, _ in known],
            [found["value"] for _, found in known],
            yerr=errors,
            color=COLORS[number % len(COLORS)],
            linestyle="-" if ordered(across["values"]) else "none",
            marker="o",
            markersize=5,
            linewidth=1.8,
            capsize=3,
            label=name or "tuned",
        )
    if metric in base:
        panel.axhline(base[metric]["value"], color="#8a867c", linestyle=(0, (5, 4)), linewidth=1.4, label="base")
    panel.set_title(f"{metric_name(metric)}, {metric_unit(metric)}", loc="left", fontsize=10.5)
    panel.set_xlabel(across["setting"])
    panel.set_xticks(list(places.values()), [str(value) for value in across["values"]])
    panel.minorticks_off()
    measured = [row["metrics"][metric]["value"] for row in rows if metric in row["metrics"]]
    if "loss" not in metric:
        panel.set_ylim(bottom=0)
    elif wide([*measured, *([base[metric]["value"]] if metric in base else [])]):
        from matplotlib.ticker import LogLocator

        panel.set_yscale("log")
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_major_formatter("{x:g}")
        panel.yaxis.minorticks_off()
    if first and (others or base):
        panel.legend(frameon=False, fontsize=9)


def wide(losses: Sequence[float]) -> bool:
    """Whether losses lie so far apart that the low ones would look the same."""
    return bool(losses) and 0 < MANY_TIMES * min(losses) <= max(losses)


def positions(values: Sequence[Any]) -> dict[str, float]:
    """Where each value stands: numbers by their logarithm where they span much, all else one after the other."""
    if not ordered(values):
        return {key(value): float(number) for number, value in enumerate(values)}
    if min(values) > 0 and max(values) / min(values) >= 4:
        return {key(value): math.log10(value) for value in values}
    return {key(value): float(value) for value in values}


def ordered(values: Sequence[Any]) -> bool:
    """Whether the values are numbers, so that a line between them means something."""
    return all(is_number(value) for value in values)


def key(value: object) -> str:
    """A value as a key."""
    return repr(value)


def last(axis: Mapping[str, Any]) -> str:
    """The last part of a setting's name."""
    return str(axis["setting"]).removesuffix(".name").rpartition(".")[2]


def bound(found: Mapping[str, Any], side: str) -> float:
    """How far a bound of the interval is from the value."""
    return abs(found[side] - found["value"]) if is_number(found[side]) else 0.0
