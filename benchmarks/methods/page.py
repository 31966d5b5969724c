"""The part of docs/benchmarks.md about methods, written from the cells."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.methods import cells, final, grid, long, table
from benchmarks.methods.runs import ROWS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"
BEGIN, END = "<!-- written by benchmarks/methods: begin -->\n", "<!-- end -->\n"
WIDTH = 150
ROUNDED = (
    "MiniLM's files held its linears in bf16 there, which is what they are multiplied in; full fine-tuning therefore "
    "started from rounded weights."
)
NEAR = 0.02
"""How far below full fine-tuning a method may be to be named."""


def write() -> None:
    """Replace what stands between the marks."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    cells.write_text(PAGE, before + BEGIN + text() + END + after)


def text() -> str:
    """What the cells say: the final table, and how the rates were found."""
    found = cells.read(final.FOLDER)
    rows = final.summary(found)
    return f"{how(found)}\n{lines(rows)}\n{told(rows)}\n### Learning rates\n\n{rates()}"


def how(found: Sequence[dict[str, Any]]) -> str:
    """What was done, and on what."""
    one = found[0]
    rounded = "BF16" in one["weights"]
    return paragraph(
        f"MiniLM (all-MiniLM-L6-v2, 22M parameters) learns whole sentences of SST-2: {long.ROWS:,} training rows, "
        f"{long.EPOCHS} epochs in batches of {long.BATCH_SIZE}, every method at its default settings and at the rate",
        f"that did best on the dev split. Accuracy on the {one['tested']:,} sentences of the test split: the mean and",
        f"range of {long.SEEDS} seeds or one, and the first seed's 95% interval over rows; no choice was made with the",
        f"test split. Measured on {one['gpu'] or 'a CPU'} that many runs shared ({one['date']}), so seconds of",
        f"training compare only roughly; memory is the allocator's peak. {elsewhere(found, one['gpu'])}",
        "`python -m benchmarks methods` measures what is missing and needs both data and model; the docstring of",
        "`benchmarks/methods` tells from where.",
        *([ROUNDED] if rounded else []),
    )


def elsewhere(found: Sequence[dict[str, Any]], gpu: str | None) -> str:
    """A sentence about the methods whose cells are of another device, whose costs do not compare at all."""
    other = sorted({cell["method"] for cell in found if cell["gpu"] != gpu and cell["method"] != long.PROBE})
    return f"Of {names(other)} seconds and memory are another machine's." if other else ""


def paragraph(*parts: str) -> str:
    """Sentences as lines of the page."""
    return textwrap.fill(" ".join(parts), WIDTH, break_long_words=False, break_on_hyphens=False) + "\n"


def lines(rows: Sequence[dict[str, Any]]) -> str:
    """The final table, the best method first."""
    head = "| method | rate | seeds | dev | accuracy (range) | interval | trained | kept | seconds | peak memory |\n"
    return head + "| --- " * 10 + "|\n" + "".join(map(line, rows))


def line(row: dict[str, Any]) -> str:
    """One row of the table."""
    if row["method"] == long.PROBE:
        name, costs = "linear probe", ("770", "770", "-", "-")
    else:
        name, count = f"`{row['method']}`", row["parameters"]
        memory = f"{row['memory'] / 1e9:.2f} GB"
        costs = (f"{count['trained']:,}", f"{count['kept']:,}", f"{row['training_seconds']:.0f}", memory)
    spread = "" if row["seeds"] == 1 else f" ({percent(row['range'][0])[:-1]} to {percent(row['range'][1])[:-1]})"
    interval = " to ".join(percent(each)[:-1] for each in row["interval"])
    rate = "-" if row["rate"] is None else f"{row['rate']:g}"
    told = (name, rate, str(row["seeds"]), percent(row["dev"]), percent(row["accuracy"]) + spread, interval, *costs)
    return f"| {' | '.join(told)} |\n"


def percent(share: float) -> str:
    """A share as a percentage with one digit."""
    return f"{100 * share:.1f}%"


def told(rows: Sequence[dict[str, Any]]) -> str:
    """Which methods are near full fine-tuning, and which do no better than the probe."""
    by_name = {row["method"]: row for row in rows}
    full, probe = by_name["full"]["accuracy"], by_name[long.PROBE]["accuracy"]
    near = [
        row["method"] for row in rows if row["method"] not in ("full", long.PROBE) and row["accuracy"] >= full - NEAR
    ]
    low = [row["method"] for row in rows if row["method"] != long.PROBE and row["interval"][0] <= probe]
    return paragraph(
        f"Within two points of full fine-tuning: {names(near)}.",
        f"Their interval does not lie above the probe's accuracy: {names(low)}.",
        "Counts are beside the new head's 770 parameters.",
    )


def names(methods: Sequence[str]) -> str:
    """Methods in a sentence."""
    return ", ".join(f"`{method}`" for method in methods) or "none"


def rates() -> str:
    """How the rates were found, in numbers."""
    found, runs = table.measured(), long.long_cells()
    sft, short = cells.read(cells.RESULTS / "sft"), long.short_cells()
    tuned = [cell for cell in runs if cell["method"] != long.PROBE]
    edge = [name for name, entry in found["sft"]["rates"].items() if entry["origin"].startswith("at the edge")]
    ends = [name for name, entry in found["classify"]["rates"].items() if "est of them" in entry["origin"]]
    best = {name: grid.best(cells.losses(short, name)) for name in found["classify"]["rates"]}
    kept = [name for name, rate in best.items() if found["classify"]["rates"][name]["rate"] == rate]
    higher = [name for name, rate in best.items() if found["classify"]["rates"][name]["rate"] > rate]
    at_sft = paragraph(
        f"Stage `sft`: {methods_of(sft)} methods on {table.BUNDLED}, {len(sft)} runs in all; the lowest loss has the",
        f"rate. The best lies at the edge of the rates tried for: {names(edge)}. Nothing was learned by:",
        f"{names(sorted(found['sft']['unlearned']))}.",
    )
    at_classify = paragraph(
        f"Stage `classify`: {methods_of(short)} methods in {len(short)} short runs on MiniLM,",
        f"{ROWS['classify']} sentences and one epoch, judged by the loss on 200 sentences of dev; then {len(tuned)}",
        "long runs at the best of those rates and the two places below it, further out while the best is at an edge,",
        f"{grid.MOST_LONG} rates at most, and halfway to the place above the best where only seeds that broke down (no",
        f"better than the probe) keep that one from being it; {long.SEEDS} seeds or one; the highest accuracy on dev,",
        "the mean of the seeds, has the rate.",
        f"{len(kept)} of {len(best)} methods keep the best rate of the short runs, {len(higher)} take a higher one,",
        "the others a lower one.",
        f"The rate is at an edge of those tried in long runs for: {names(ends)}. No better on dev than the linear",
        f"probe at any rate, so without a rate of their own: {names(sorted(found['classify']['unlearned']))}.",
    )
    return f"{at_sft}\n{at_classify}"


def methods_of(found: Sequence[dict[str, Any]]) -> int:
    """How many methods the cells are of."""
    return len({cell["method"] for cell in found})
