"""The memory bill for people: every moment of a run as a column, the fullest one marked; and what would help."""

from collections.abc import Mapping, Sequence
from typing import Any

from accorda.cli.terminal.facts import blocks
from accorda.cli.terminal.table import table
from accorda.recipe.words import shown
from accorda.runs.figures import size


def told(bill: Mapping[str, Any]) -> str:
    """The whole bill: items, whether it fits, changes."""
    return blocks([bill_table(bill), verdict(bill), changes_table(bill["changes"])])


def bill_table(bill: Mapping[str, Any]) -> str:
    """Items by moments, and the totals. `bill` is what `Bill.to_dict` gives."""
    moments = bill["moments"]
    names = dict.fromkeys(name for moment in moments for name in moment["items"])
    fullest = [f"{moment['name']} *" if moment["name"] == bill["moment"] else moment["name"] for moment in moments]
    rows = [(name, *(amount(moment["items"].get(name)) for moment in moments)) for name in names]
    rows.append(("total", *(amount(moment["total"]) for moment in moments)))
    return table(("memory", *fullest), rows)


def verdict(bill: Mapping[str, Any]) -> str:
    """One line: the most that is needed, beside what there is."""
    needed, capacity = bill["needed"], bill["capacity"]
    if capacity is None:
        return f"needs {size(needed)}"
    fits = "fits" if bill["fits"] else "does not fit"
    return f"needs {size(needed)}, {bill['device']} has {size(capacity)}: {fits}"


def changes_table(changes: Sequence[Mapping[str, Any]]) -> str:
    """Changes with what each saves, and whether the run fits with it."""
    rows = [
        (
            " ".join(setting(name, value) for name, value in change["settings"].items()),
            size(change["saves"]),
            {True: "fits", False: "does not fit", None: "-"}[change["fits"]],
            change["says"],
        )
        for change in changes
    ]
    return table(("change", "saves", "then it", "because"), rows) if rows else ""


def setting(name: str, value: Any) -> str:
    """A change as it is written on the command line."""
    return f"{name}.name={value['name']}" if isinstance(value, Mapping) else f"{name}={shown(value)}"


def amount(held: int | None) -> str:
    """Bytes for people; a dash where there are none."""
    return "-" if held is None else size(held)


def general_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Memory by size and precision, in GB; a dash where there is no such way to train."""
    cells = [
        (
            row["size"],
            row["precision"],
            *(gigabytes(row[name]) for name in ("load", "full", "lora")),
        )
        for row in rows
    ]
    head = ("parameters", "base held in", "load", "train fully (AdamW)", "train LoRA")
    return table(head, cells) + "\n\n" + NOTE


NOTE = """GB of 1e9 bytes, before activations. What trains is fp32 always: weight, gradient and two moments are
16 bytes per parameter; products may run in 16 bit. LoRA: rank 16 on every linear of the blocks; on nf4 it is QLoRA."""


def gigabytes(held: float | None) -> str:
    """Bytes as GB in three digits."""
    return "-" if held is None else f"{held / 1e9:,.3g}" if held < 1e12 else f"{held / 1e9:,.0f}"
