"""{"text": ...}: a document; every token of it is learned."""

from accorda.data.example import Example, RowError
from accorda.data.formats.fields import Row
from accorda.data.formats.fields import text as text_of

FIELDS = KEYS = ("text",)
OPTIONAL = ()


def detect(row: Row) -> bool:
    """A text in `text`."""
    return isinstance(row.get("text"), str)


def parse(row: Row) -> Example:
    """The text as it is."""
    text = text_of(row, "text")
    if not text.strip():
        raise RowError("empty text")
    return Example(text=text)
