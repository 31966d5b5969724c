"""What was proven: verdicts with their reasons and, folded, their evidence."""

import json
from typing import Any

from accorda.runs.markup import code, folded, table, text
from accorda.runs.sections.names import PROOFS
from accorda.runs.story import Story

SIGNS = {"holds": ("good", "✓"), "fails": ("bad", "✗")}
MOST = 12
"""Entries of a list or mapping that are shown; a big model has thousands of tensors."""


def proofs(story: Story) -> str:
    """One entry per proof, failed ones first."""
    ordered = sorted(story.proofs, key=lambda proof: proof.get("verdict") != "fails")
    items = "".join(f"<li>{proof(item)}</li>\n" for item in ordered)
    return f'<ul class="proofs">{items}</ul>' if items else ""


def proof(item: dict[str, Any]) -> str:
    """Sign, name, what the proof says in general, what it found here, and on what evidence."""
    name, said = str(item.get("name")), str(item.get("verdict"))
    kind, sign = SIGNS.get(said, ("other", "–"))
    return (
        f'<span class="sign {kind}" aria-hidden="true">{sign}</span><div>'
        f'<h3>{text(name)} <em class="{kind}">{text(said)}</em></h3>'
        f'<p>{text(item.get("reason") or "")}</p><p class="note">{text(PROOFS.get(name, ""))}</p>'
        f"{folded('evidence', evidence(item.get('evidence') or {}))}</div>"
    )


def evidence(found: dict[str, Any]) -> str:
    """The checks a proof consists of as a table; the rest as it stands in proof.json, long lists shortened."""
    checks = [check for check in found.get("checks") or () if isinstance(check, dict)]
    rows = [
        (mark(str(check.get("verdict"))), text(check.get("name")), text(check.get("reason") or "")) for check in checks
    ]
    rest = {key: value for key, value in found.items() if key != "checks" or not checks}
    plain = [(text(key), code(value)) for key, value in rest.items() if isinstance(value, str | int | float | None)]
    nested = {key: value for key, value in rest.items() if not isinstance(value, str | int | float | None)}
    dumped = json.dumps(shortened(nested), indent=1, ensure_ascii=False)
    return (
        table(("", "check", "found"), rows, "checks")
        + table(("", ""), plain, "checks")
        + (f"<pre>{text(dumped)}</pre>" if nested else "")
    )


def mark(verdict: str) -> str:
    """A verdict as its sign."""
    kind, sign = SIGNS.get(verdict, ("other", "–"))
    return f'<span class="{kind}" title="{text(verdict)}">{sign}</span>'


def shortened(value: object) -> Any:
    """Evidence without the rest of long lists and mappings."""
    if isinstance(value, dict):
        kept = {key: shortened(item) for key, item in list(value.items())[:MOST]}
        return kept | ({"...": f"{len(value) - MOST} more in proof.json"} if len(value) > MOST else {})
    if isinstance(value, list):
        more = [f"... {len(value) - MOST} more in proof.json"] if len(value) > MOST else []
        return [shortened(item) for item in value[:MOST]] + more
    return value
