"""Typed access to the fields of a raw row; what is missing or of another type is a `RowError` that says so."""

import json
from collections.abc import Mapping
from typing import Any

from accorda.data.example import RowError

Row = Mapping[str, Any]


def kind_of(value: object) -> str:
    """The JSON word for a value's type."""
    names = {str: "text", bool: "true/false", int: "a number", float: "a number", dict: "an object", list: "a list"}
    return "null" if value is None else names.get(type(value), type(value).__name__)


def text(row: Row, name: str) -> str:
    """A text that must be there; it may be empty."""
    if name not in row:
        raise RowError(f"no column {name!r} (it has {', '.join(row) or 'none'})")
    return as_text(row[name], name)


def optional_text(row: Row, name: str) -> str:
    """A text, or an empty one where the column is missing or null."""
    value = row.get(name)
    return "" if value is None else as_text(value, name)


def as_text(value: object, name: str) -> str:
    """The value where it is text."""
    if not isinstance(value, str):
        raise RowError(f"{name!r} is {kind_of(value)}, not text")
    return value


def objects(row: Row, name: str) -> list[Row]:
    """A list of objects that must be there and not be empty; a JSON text of one (as CSV holds it) counts."""
    if name not in row:
        raise RowError(f"no column {name!r} (it has {', '.join(row) or 'none'})")
    value = parsed(row[name], name)
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
        raise RowError(f"{name!r} is {kind_of(value)}, not a list of objects")
    if not value:
        raise RowError(f"{name!r} is empty")
    return value


def parsed(value: object, name: str) -> object:
    """The value, or what its JSON text says where it is text."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise RowError(f"{name!r} is text that is no JSON ({error})") from None
