"""Names and values below each other, and the tables about data that several verbs print."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from accorda.cli.terminal.table import cell, table


def facts(pairs: Iterable[tuple[str, Any]]) -> str:
    """One line per name that has a value, values below each other."""
    known = [(name, cell(value)) for name, value in pairs if value is not None]
    width = max((len(name) for name, _ in known), default=0)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in known)


def counted(counts: Mapping[str, int]) -> str | None:
    """`190 seen, 167 kept`; nothing where nothing was counted."""
    return ", ".join(f"{number:,} {name}" for name, number in counts.items()) or None


def sources(report: Mapping[str, Any]) -> str:
    """The files of a data report with what was found in each."""
    rows = []
    for item in report["sources"]:
        columns = ", ".join(f"{ours}={theirs}" for ours, theirs in item["columns"].items())
        rows.append((item["file"], item["format"], columns or "as named", item["rows"], item["kept"]))
    return table(("file", "format", "columns", "rows", "kept"), rows)


def lengths(report: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Lengths, and how much of the rows is learned."""
    found = report["lengths"]
    return [
        ("rows", counted(report["rows"])),
        ("tokens per row", f"median {found['p50']}, 95% {found['p95']}, longest {found['p100']}"),
        ("at most", report["max_length"]),
        ("tokens", report["tokens"]),
        *learned(report),
    ]


def learned(report: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Tokens that are learned; nothing where rows have a label each."""
    if report.get("labels") is not None:
        return []
    return [
        ("learned tokens", f"{report['supervised_tokens']:,} ({report['supervised_share']:.1%})"),
        ("learned tokens lost", report["supervised_tokens_lost"]),
    ]


def places(report: Mapping[str, Any], most: int = 8) -> str:
    """Where rows cannot be read or do not fit."""
    lines = [f"{item['file']}:{item['line']}: {item['reason']}" for item in report["bad_rows"]]
    lines += [f"{item['file']}:{item['line']}: {item['tokens']} tokens" for item in report["overlong_rows"]]
    rows = report["rows"]
    number = rows["skipped"] + rows["overlong"]
    more = [f"... and {number - most} more; --json lists {len(lines)}"] if number > most else []
    return "\n".join(lines[:most] + more)


def blocks(parts: Sequence[str]) -> str:
    """Those that say something, with an empty line between."""
    return "\n\n".join(part for part in parts if part)
