"""The memory bill for people: every moment of a run as a column, the fullest one marked."""

from collections.abc import Mapping
from typing import Any

from accorda.cli.terminal.facts import bytes_shown
from accorda.cli.terminal.table import table


def bill_table(bill: Mapping[str, Any]) -> str:
    """Items by moments, and the totals. `bill` is what `Bill.to_dict` gives."""
    moments = bill["moments"]
    names = dict.fromkeys(name for moment in moments for name in moment["items"])
    fullest = [f"{moment['name']} *" if moment["name"] == bill["moment"] else moment["name"] for moment in moments]
    rows = [(name, *(shown(moment["items"].get(name)) for moment in moments)) for name in names]
    rows.append(("total", *(shown(moment["total"]) for moment in moments)))
    return table(("memory", *fullest), rows)


def shown(size: int | None) -> str:
    """Bytes for people; a dash where there are none."""
    return "-" if size is None else bytes_shown(size)
