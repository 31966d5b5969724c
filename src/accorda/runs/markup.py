"""HTML in small pieces. Whatever comes from a run goes through `text`, so that nothing of it can be markup."""

from collections.abc import Iterable, Sequence
from html import escape

UNSEEN = {character: f"\\u{character:04x}" for character in (*range(0x20), 0x7F, *range(0x80, 0xA0)) if character != 10}
UNSEEN |= {character: f"\\u{character:04x}" for character in (*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xFEFF)}
del UNSEEN[9]


def text(value: object) -> str:
    """Text as HTML; control characters, and those that turn the direction of writing, as their numbers."""
    return escape(str(value).translate(UNSEEN).encode("utf-8", "backslashreplace").decode(), quote=True)


def section(name: str, title: str, body: str, lead: str = "") -> str:
    """A section with a heading; nothing where there is nothing to show."""
    if not body:
        return ""
    words = f'<p class="lead">{lead}</p>\n' if lead else ""
    return f'<section id="{name}">\n<h2>{text(title)}</h2>\n{words}{body}\n</section>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> str:
    """A table whose cells are HTML already; `kind` is its class. On a phone every cell shows its column's title."""
    lines = []
    for row in rows:
        cells = [f'<td data-title="{text(title)}">{cell}</td>' for title, cell in zip(head, row, strict=True)]
        lines.append(f"<tr>{''.join(cells)}</tr>\n")
    if not lines:
        return ""
    titles = "".join(f'<th scope="col">{text(title)}</th>' for title in head)
    return f'<table class="{kind}"><thead><tr>{titles}</tr></thead>\n<tbody>{"".join(lines)}</tbody></table>'


def folded(title: str, body: str, kind: str = "") -> str:
    """Something that opens on a click."""
    return f'<details class="{kind}"><summary>{text(title)}</summary>\n{body}\n</details>' if body else ""


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Names and values; the values are HTML already. Pairs without a value are left out."""
    items = "".join(f"<div><dt>{text(name)}</dt><dd>{value}</dd></div>" for name, value in pairs if value)
    return f'<dl class="facts">{items}</dl>' if items else ""


def code(value: object) -> str:
    """A value as it would be typed."""
    return f"<code>{text(value)}</code>"
