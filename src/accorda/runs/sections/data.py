"""What it learned from: rows kept and left out, lengths, files, and the places of rows that could not be used."""

from typing import Any

from accorda.runs.figures import number, share
from accorda.runs.markup import code, facts, folded, table, text
from accorda.runs.story import Story, is_number

FATES = (("kept", "kept"), ("overlong", "too long"), ("skipped", "unreadable"))
SPLITS = (("train", "trained on"), ("eval", "held out"))


def data(story: Story) -> str:
    """Both splits; of a run without `data.json` what its result counted."""
    found = [(title, story.rows_of(name)) for name, title in SPLITS if story.rows_of(name)]
    if not found and isinstance(story.result.get("rows"), dict):
        found = [("trained on", {"rows": story.result["rows"]})]
    return "".join(split(title, report) for title, report in found)


def split(title: str, report: dict[str, Any]) -> str:
    """One split."""
    rows = {name: value for name, value in (report.get("rows") or {}).items() if is_number(value)}
    return (
        f'<div class="split"><h3>{text(title)}</h3>{fates(rows)}{facts(counts(report, rows))}'
        f"{folded('files', files(report))}{folded('rows left out', left_out(report))}</div>"
    )


def fates(rows: dict[str, float]) -> str:
    """The rows as one bar: kept and left out."""
    total = sum(rows.get(name, 0) for name, _ in FATES)
    if not total:
        return ""
    parts = [(name, word, rows.get(name, 0)) for name, word in FATES if rows.get(name)]
    told = ", ".join(f"{number(value)} {word} ({share(value, total)})" for _, word, value in parts)
    shown = "".join(f'<i class="{name}" style="width:{100 * value / total:.2f}%"></i>' for name, _, value in parts)
    cut = f"; {number(rows['truncated'])} of the kept ones are cut" if rows.get("truncated") else ""
    return f'<p>{number(total)} rows: {text(told)}{text(cut)}</p><div class="fates" aria-hidden="true">{shown}</div>'


def counts(report: dict[str, Any], rows: dict[str, float]) -> list[tuple[str, str]]:
    """Lengths and tokens."""
    lengths, tokens = report.get("lengths") or {}, report.get("tokens")
    learned, lost = report.get("supervised_tokens"), report.get("supervised_tokens_lost")
    return [
        ("median row", f"{number(lengths['p50'])} tokens" if "p50" in lengths else ""),
        (
            "longest row",
            f"{number(lengths['p100'])} <small>of {text(report.get('max_length'))} that fit</small>"
            if "p100" in lengths
            else "",
        ),
        ("tokens", number(tokens) if is_number(tokens) else ""),
        ("learned", f"{number(learned)} <small>{share(learned, tokens or 0)}</small>" if is_number(learned) else ""),
        ("learned tokens lost", number(lost) if lost else ""),
        (
            "asked in training too",
            f"{number(known)} <small>rows</small>" if (known := report.get("known_prompts")) else "",
        ),
        ("template", text(report.get("template") or "")),
    ]


def files(report: dict[str, Any]) -> str:
    """Every source with its format, columns and hash."""
    rows = []
    for item in report.get("sources") or ():
        columns = ", ".join(f"{ours} = {theirs}" for ours, theirs in (item.get("columns") or {}).items())
        kept = f"{number(item.get('kept') or 0)} of {number(item.get('rows') or 0)}"
        digest = str(item.get("tokens_sha256") or "")[:12]
        rows.append((code(item.get("file")), text(item.get("format")), text(columns or "as named"), kept, code(digest)))
    return table(("file", "format", "columns", "rows kept", "tokens' hash"), rows)


def left_out(report: dict[str, Any]) -> str:
    """Where they stand and why."""
    bad = [(item, text(item.get("reason"))) for item in report.get("bad_rows") or ()]
    long = [(item, f"{number(item.get('tokens') or 0)} tokens") for item in report.get("overlong_rows") or ()]
    rows = [(code(f"{item.get('file')}:{item.get('line')}"), why) for item, why in bad + long]
    return table(("place", "why"), rows)
