"""Which columns of labelled rows are the text, the second text and the label.

A column named by `data.columns` is taken as it is; else the names that data sets commonly use are looked for. Labels
are text or whole numbers (classes), or numbers with a point.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from accorda.data.example import Example, RowError
from accorda.data.formats.fields import as_text, kind_of
from accorda.data.formats.registry import Mapped, check_columns
from accorda.errors import Refusal

Row = Mapping[str, Any]
NAME = "labelled"
FIELDS = ("text", "text_pair", "label")
PAIRS = (
    *(("text", "text_pair"), ("sentence1", "sentence2"), ("premise", "hypothesis"), ("question1", "question2")),
    *(("question", "sentence"), ("question", "passage"), ("query", "document")),
)
TEXTS = ("text", "sentence", "prompt", "content", "document", "review", "comment", "tweet", "utterance", "question")
LABELS = ("label", "labels", "class", "category", "target", "sentiment")


@dataclass(frozen=True)
class Columns(Mapped):
    """Our fields, each with the column of the file that it is read from."""

    def parse(self, row: Row) -> Example:
        """The row as an example; a `RowError` says what is wrong with it."""
        self.require(row)
        text, pair = (_text(row, self.columns[field]) if field in self.columns else None for field in FIELDS[:2])
        return Example(text=text, text_pair=pair, label=_label(row[self.columns["label"]], self.columns["label"]))


def choose(row: Row, place: str, *, name: str = "auto", columns: Mapping[str, str] | None = None) -> Columns:
    """The columns of a source, told by those mapped and by the keys of one of its rows.

    Raises:
        Refusal: a field or column that there is not; no column, or several, that could be the text or the label.
    """
    given = dict(columns or {})
    if name not in ("auto", NAME):
        raise Refusal(f"data.format = {name}: rows of stage classify have a text and a label; leave it auto")
    check_columns(given, row, place, FIELDS)
    found = given | {"label": given.get("label") or _only(row, LABELS, "label", place, given)}
    return Columns(NAME, found if "text" in found else found | asked(row, place, found))


def asked(row: Row, place: str, given: Mapping[str, str]) -> dict[str, str]:
    """The columns of the text and, where there is one, of the second text: all that a row to be labelled needs."""
    if "text" in given:
        return {field: given[field] for field in FIELDS[:2] if field in given}
    taken = set(given.values())
    pair = next((pair for pair in PAIRS if set(pair) <= row.keys() and not set(pair) & taken), None)
    if pair is not None and "text_pair" not in given:
        return dict(zip(FIELDS[:2], pair, strict=True))
    return {"text": _only(row, TEXTS, "text", place, given)} | {f: c for f, c in given.items() if f == "text_pair"}


def _only(row: Row, known: tuple[str, ...], field: str, place: str, given: Mapping[str, str]) -> str:
    """The one column of these names; the field's own name wins over the others."""
    found = [name for name in known if name in row and name not in given.values()]
    if found[:1] == [field] or len(found) == 1:
        return found[0]
    keys = ", ".join(row) or "none"
    why = (
        f"{' and '.join(found)} could each be the {field}" if found else f"none of its columns ({keys}) is the {field}"
    )
    raise Refusal(f"{place}: {why}; say which: --column {field}={found[0] if found else 'COLUMN'}")


def _text(row: Row, column: str) -> str:
    text = as_text(row[column], column)
    if not text.strip():
        raise RowError(f"{column!r} is empty")
    return text


def _label(value: Any, column: str) -> str | float:
    """A class by its name, or a number with a point."""
    if value is None or (isinstance(value, str) and not value.strip()):
        raise RowError(f"no label ({column!r} is {'null' if value is None else 'empty'})")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if not math.isfinite(value):
            raise RowError(f"the label is {value}, which is no number to learn")
        return value
    if isinstance(value, str | int):
        return str(value).strip()
    raise RowError(f"{column!r} is {kind_of(value)}; a row has one label, text or a number")
