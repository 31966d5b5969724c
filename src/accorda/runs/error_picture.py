"""The picture of how far each weight moves in a number format: a point per layer, a line per kind of layer."""

import re
from collections.abc import Mapping
from pathlib import Path

from accorda.runs.sweep_picture import COLORS, STYLE, save

BLOCK = re.compile(r"(^|\.)(\d+)\.")


def draw(errors: Mapping[str, float], svg: Path) -> None:
    """`errors`: by the name of a linear layer, |W - D(Q(W))| / |W|."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    kinds: dict[str, list[tuple[int, float]]] = {}
    for name, error in errors.items():
        found = BLOCK.search(name)
        block, kind = (int(found[2]), name[found.end() :]) if found else (0, name)
        kinds.setdefault(kind, []).append((block, error))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 3.8), layout="constrained")
        panel = figure.subplots()
        for number, (kind, points) in enumerate(kinds.items()):
            blocks, shares = zip(*sorted(points), strict=True)
            panel.plot(blocks, [100 * share for share in shares], ".-", color=COLORS[number % len(COLORS)], label=kind)
        panel.set_xlabel("block")
        panel.set_ylabel("moved by quantization, % of its norm")
        panel.set_ylim(bottom=0)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
        save(figure, svg)
