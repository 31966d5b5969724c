"""Finds the formats, and the one that a source's rows are in."""

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol, cast

from accorda.data.example import Example, RowError
from accorda.data.formats.hints import feedback, has_words, quoted, suggestion
from accorda.data.read import otherwise_separated
from accorda.errors import Refusal
from accorda.recipe.words import meant

Row = Mapping[str, Any]
FOLDER = "accorda.data.formats"


class Format(Protocol):
    """A module of this folder, or of another folder of formats.

    `FIELDS` are the columns that tell it, `OPTIONAL` what it also reads. A row that has all `KEYS` and fits no format
    is one of this format with something wrong.
    """

    KEYS: tuple[str, ...]
    FIELDS: tuple[str, ...]
    OPTIONAL: tuple[str, ...]

    def detect(self, row: Row) -> bool:
        """Whether the row looks like this format."""
        ...

    def parse(self, row: Row) -> Example:
        """The row as an `Example`; a `RowError` says what is wrong with it."""
        ...


@cache
def formats(folder: str = FOLDER) -> dict[str, Format]:
    """Every format by name: the modules of a folder that can detect one."""
    package = importlib.import_module(folder)
    names = sorted(info.name for info in pkgutil.iter_modules(package.__path__))
    modules = {name: importlib.import_module(f"{package.__name__}.{name}") for name in names}
    return {name: cast(Format, module) for name, module in modules.items() if hasattr(module, "detect")}


@dataclass(frozen=True)
class Mapped:
    """A format with the columns it reads under other names: {its field: the file's column}."""

    name: str
    columns: Mapping[str, str]
    folder: str = FOLDER

    def require(self, row: Row) -> None:
        """A `RowError` for a row that lacks one of the columns."""
        missing = [column for column in self.columns.values() if column not in row]
        if missing:
            raise RowError(f"no column {missing[0]!r} (it has {', '.join(row) or 'none'})")

    def parse(self, row: Row) -> Example:
        """The row as an `Example`."""
        self.require(row)
        return formats(self.folder)[self.name].parse(seen(row, self.name, self.columns, self.folder))


def seen(row: Row, name: str, columns: Mapping[str, str], folder: str = FOLDER) -> Row:
    """What a format sees: the row, or with `columns` its own fields, each from the column named for it."""
    if not columns:
        return row
    own = _fields(name, folder)
    kept = {field: row[field] for field in own if field in row and field not in columns.values()}
    return kept | {field: row[column] for field, column in columns.items()}


def choose(
    row: Row,
    place: str,
    *,
    name: str = "auto",
    columns: Mapping[str, str] | None = None,
    folder: str = FOLDER,
    why_not: Callable[[Row], str | None] = feedback,
    suggest: Callable[[Row], str] = suggestion,
) -> Mapped:
    """The format of a source, told by its name, by the columns mapped, or by the keys of one of its rows.

    Nothing that fits, or more than one format that does, is a `Refusal` with `place`, the keys and the way out.
    `folder` holds the formats; `why_not` knows rows that are not meant for them, `suggest` a way out for other rows.
    """
    columns, known = dict(columns or {}), formats(folder)
    if name != "auto" and name not in known:
        raise Refusal(f"data.format: {name}: no such format; formats are auto, {', '.join(known)}")
    names = list(known) if name == "auto" else [name]
    check_columns(columns, row, place, sorted({field for each in names for field in _fields(each, folder)}))
    if name != "auto":
        return Mapped(name, columns, folder)
    if not columns and (why := why_not(row)):
        raise Refusal(f"{place}: {why}")
    able = [each for each in known if set(columns) <= set(_fields(each, folder))]
    views = {each: seen(row, each, columns, folder) for each in able}
    found = [each for each in able if known[each].detect(views[each])]
    found = found or [each for each in able if set(known[each].KEYS) <= set(views[each])]
    if len(found) != 1:
        raise Refusal(f"{place}: {_why_not_one(row, found, columns, suggest)}")
    return Mapped(found[0], columns, folder)


def _fields(name: str, folder: str) -> tuple[str, ...]:
    known = formats(folder)[name]
    return known.FIELDS + known.OPTIONAL


def check_columns(columns: Mapping[str, str], row: Row, place: str, known: Sequence[str]) -> None:
    """Refuse a mapping from no known field, or to a column that the row lacks."""
    for field, column in columns.items():
        if field not in known:
            if column in known and field in row:
                raise Refusal(f"data.columns: {field}={column}: the other way round: --column {column}={field}")
            fields = meant(field, known) or f"; fields are {', '.join(known)}"
            raise Refusal(f"data.columns: {field}={column}: {field} is none of our fields{fields}")
        if column not in row:
            if (separated := otherwise_separated(list(row))) is not None:
                raise Refusal(f"{place}: no column {column!r}; {separated}")
            raise Refusal(f"{place}: data.columns: no column {column!r}; the row has {', '.join(row) or 'none'}")


def _why_not_one(row: Row, found: Sequence[str], columns: Mapping[str, str], suggest: Callable[[Row], str]) -> str:
    keys = ", ".join(row) or "none"
    if (separated := otherwise_separated(list(row))) is not None:
        return separated
    if found:
        return f"its columns ({keys}) fit the formats {' and '.join(found)}; say which: data.format={found[0]}"
    given = " ".join(f"{field}={column}" for field, column in columns.items())
    with_columns = f" with data.columns {given}" if given else ""
    way_out = _still_needed(row, columns) or f"say what they are: {suggest(row)}"
    return f"no format fits its columns ({keys}){with_columns}; {way_out}"


def _still_needed(row: Row, columns: Mapping[str, str]) -> str:
    """The one field that the mapped columns' format lacks, where one column is left for it; else nothing."""
    begun = [name for name in formats() if set(columns) & set(formats()[name].KEYS)] if columns else []
    lacks = [key for name in begun for key in formats()[name].KEYS if key not in seen(row, name, columns)]
    left = [column for column, value in row.items() if has_words(value) and column not in columns.values()]
    if len(begun) != 1 or len(lacks) != 1 or len(left) != 1:
        return ""
    return f"{begun[0]} also needs {lacks[0]}: --column {quoted(lacks[0], left[0])}"
