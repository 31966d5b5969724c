"""The memory bill made before the run, item by item, beside the peak that was measured."""

from collections.abc import Mapping
from typing import Any

from accorda.runs.figures import size
from accorda.runs.markup import folded, table, text
from accorda.runs.sections.bars import bar, named
from accorda.runs.story import Story, is_number


def memory(story: Story) -> str:
    """The items of the bill as one bar, the measured peak as another, by how much the bill was off, every item."""
    bill, peak = story.result.get("bill"), story.result.get("peak_memory_bytes")
    bill = bill if isinstance(bill, dict) else {}
    items = {str(item.get("name")): item["bytes"] for item in billed(bill)}
    total = story.result.get("bill_bytes")
    if not items and is_number(total) and total > 0:
        items = {"bill": total}
    measured = {"measured": peak} if is_number(peak) and peak > 0 else {}
    most = max(sum(items.values()), sum(measured.values()))
    order = list(items)
    at = f"bill, at its fullest: {bill['moment']}" if bill.get("moment") else "bill"
    bars = (bar(at, items, most, order) if items else "") + (
        bar("measured peak", measured, most, []) if measured else ""
    )
    return bars + off(sum(items.values()), sum(measured.values())) + listed(bill, order) + moments(bill, most, order)


def billed(bill: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The items that have a size."""
    items = bill.get("items")
    found = [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []
    return [item for item in found if is_number(item.get("bytes"))]


def off(bill: float, peak: float) -> str:
    """By how much the bill missed."""
    if not bill or not peak:
        return ""
    missed = bill / peak - 1
    where = "above" if missed > 0 else "below"
    return f'<p class="note">The bill is {abs(missed):.0%} {where} what was measured.</p>'


def listed(bill: Mapping[str, Any], order: list[str]) -> str:
    """What each item is."""
    rows = []
    for item in billed(bill):
        rows.append((named(str(item.get("name")), order), size(item["bytes"]), text(item.get("says") or "")))
    return table(("item", "size", "what it is"), rows, "bill")


def moments(bill: Mapping[str, Any], most: float, order: list[str]) -> str:
    """The other moments of the run, folded."""
    listed = bill.get("moments")
    found = [moment for moment in listed if isinstance(moment, dict)] if isinstance(listed, list) else []
    bars = []
    for moment in found:
        items = {name: value for name, value in (moment.get("items") or {}).items() if is_number(value)}
        bars.append(bar(str(moment.get("name")), items, most, order))
    return folded(f"the {len(found)} moments of the run", "".join(bars)) if len(found) > 1 else ""
