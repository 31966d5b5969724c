"""The table as a picture: memory against parameters, both in powers of ten, with the sizes of GPUs across."""

from itertools import cycle
from pathlib import Path
from typing import Any

from accorda.errors import Refusal
from accorda.planning.devices import devices
from accorda.planning.table import Row, rows

KINDS = (".svg", ".png", ".pdf")
ACROSS = ("rtx-4090", "a100-80gb", "h200")
COLOURS = ("#3b528b", "#21918c", "#e08214", "#b2182b", "#7b3294", "#525252")  # of precisions, as the table has them
PANELS = (("to load", "load"), ("to train LoRA (nf4: QLoRA)", "lora"), ("to train fully with AdamW", "full"))


def draw(path: str) -> None:
    """Write the picture; its kind is that of the file's name.

    Raises:
        Refusal: another kind, or no such folder.
    """
    place = Path(path)
    if place.suffix.lower() not in KINDS:
        raise Refusal(f"--picture = {path}: give a file that ends in {', '.join(KINDS)}")
    if not place.parent.is_dir():
        raise Refusal(f"--picture = {path}: there is no folder {place.parent}")
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "accorda", "svg.fonttype": "path", "font.size": 9}):
        figure = Figure(figsize=(11, 4.4), layout="constrained")
        panels: Any = figure.subplots(1, len(PANELS), sharey=True)
        for panel, (title, column) in zip(panels, PANELS, strict=True):
            fill(panel, title, column)
        panels[0].set_ylabel("GB, before activations")
        aside = place.with_name(f".{place.name}")
        kind = place.suffix.lower()[1:]
        figure.savefig(aside, format=kind, dpi=160, metadata={"Date": None} if kind == "svg" else None)
    aside.replace(place)


def fill(panel: Any, title: str, column: str) -> None:
    """One panel: a line per precision."""
    found = rows()
    for precision, colour in zip(dict.fromkeys(row.precision for row in found), cycle(COLOURS), strict=False):
        points = [(row.parameters / 1e9, value(row, column)) for row in found if row.precision == precision]
        known = [(x, y / 1e9) for x, y in points if y is not None]
        if known and not (column == "full" and precision == "16-bit"):  # the same line: what trains is fp32
            label = "fp32 or bf16 products" if column == "full" else precision
            panel.plot(*zip(*known, strict=True), "o-", color=colour, markersize=3.5, linewidth=1.6, label=label)
    for name in ACROSS:
        capacity = devices()[name].capacity / 1e9
        panel.axhline(capacity, color="0.6", linewidth=0.8, linestyle=":")
        panel.text(0.93, capacity * 1.05, name, ha="left", va="bottom", color="0.4", fontsize=7)
    panel.set(xscale="log", yscale="log", title=title, xlabel="parameters (billions)", xlim=(0.9, 200))
    sizes = {row.parameters / 1e9: row.size for row in found}
    panel.set_xticks(list(sizes), list(sizes.values()), minor=False)
    panel.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
    panel.set_yticks([1, 10, 100, 1000], ["1", "10", "100", "1000"])
    panel.grid(alpha=0.25)
    panel.spines[["top", "right"]].set_visible(False)
    panel.legend(frameon=False, fontsize=8, loc="upper left")


def value(row: Row, column: str) -> float | None:
    """Bytes of a column."""
    return getattr(row, column)
