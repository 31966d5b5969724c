"""Files to raw rows, each with its line. Rows are parsed one by one: no column type is inferred from other rows.

- `.jsonl`, `.ndjson`: one value per line.   `.json`: a list of rows, {"data": [...]}, or lines after all.
- `.csv` (quoted, comma), `.tsv` (tab, quotes are ordinary): the first line names the columns.
- `.parquet` (extra `data`): rows are counted from 1.
- `.txt`: documents, divided by lines that hold only `<|endoftext|>`; a file without such lines is one document.
- each of the text files also as `.gz`.

UTF-8, with or without a byte order mark, with any line ends; empty lines are skipped. A row that cannot be read is a
`BadRow`; a file that cannot be read at all is a `Refusal`.
"""

import csv
import gzip
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from accorda.data.disguised import LENGTH, refuse_disguised
from accorda.data.example import BadRow
from accorda.errors import Refusal
from accorda.recipe import words

SHEETS = (".xlsx", ".xls", ".ods", ".numbers")
RawRow = tuple[str, int, Any]
"""(file as the user named it, line counted from 1, the row or a `BadRow`)"""
SPACE = re.compile(r"[ \t\n\r]*")
SEPARATORS = {
    ";": ("';'", "save it with commas"),
    "\t": ("tabs", "save it with commas, or call it .tsv"),
    "|": ("'|'", "save it with commas"),
    ",": ("commas", "call it .csv"),
}  # what else than its ending says may stand between the values of a table, and the way out
TABLES = (".csv", ".tsv")
LONG = "a number of more digits than Python reads"
SEPARATOR = "<|endoftext|>"


def read_file(path: Path, shown: str) -> Iterator[RawRow]:
    """The rows of one file; `shown` is how messages name it."""
    ending = suffix(path, shown)
    reader = READERS[ending]
    try:
        if ending != ".parquet":
            with _open(path) as file:
                refuse_disguised(file.read(LENGTH), shown)
        for line, row in reader(path, shown):
            yield shown, line, _as_row(shown, line, row)
    except (OSError, EOFError) as error:
        raise Refusal(f"{shown}: cannot be read: {error}") from None


def suffix(path: Path, shown: str) -> str:
    """The ending that tells the reader, without `.gz`; an unknown one is a `Refusal`."""
    name = path.name.lower()
    plain = name.removesuffix(".gz")
    ending = Path(plain).suffix
    if ending not in READERS or (ending == ".parquet" and plain != name):
        way_out = "save it as .csv" if ending in SHEETS else f"files are {', '.join(READERS)}"
        raise Refusal(f"{shown}: cannot read {ending or 'a file without an ending'}; {way_out}")
    return ending


def _as_row(shown: str, line: int, row: Any) -> Any:
    if isinstance(row, str):
        return {"text": row}
    if isinstance(row, dict | BadRow):
        return row
    return BadRow(shown, line, f"the row is {type(row).__name__}, not an object")


def _open(path: Path) -> io.BufferedIOBase:
    return gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb")


def _bytes(path: Path) -> Iterator[bytes]:
    with _open(path) as file:
        yield from file


def _lines(path: Path, shown: str) -> Iterator[tuple[int, str | BadRow]]:
    for line, raw in enumerate(_bytes(path), start=1):
        try:
            yield line, raw.decode("utf-8-sig" if line == 1 else "utf-8")
        except UnicodeDecodeError as error:
            yield line, BadRow(shown, line, f"no valid UTF-8 (byte {error.start + 1} of the line); save it as UTF-8")


def _text(path: Path, shown: str) -> str:
    """The whole file; broken bytes become lone surrogates, which `_broken` finds again."""
    return b"".join(_bytes(path)).decode("utf-8", "surrogateescape").removeprefix("\ufeff")


def _broken(text: str) -> bool:
    return not text.isascii() and any("\udc80" <= character <= "\udcff" for character in text)


def _valid_text(path: Path, shown: str) -> str:
    text = _text(path, shown)
    if _broken(text):
        line = next(number for number, one in enumerate(text.split("\n"), start=1) if _broken(one))
        raise Refusal(f"{shown}:{line}: no valid UTF-8; save it as UTF-8")
    return text


def jsonl(path: Path, shown: str) -> Iterator[tuple[int, Any]]:
    """One JSON value per line."""
    for line, text in _lines(path, shown):
        if isinstance(text, BadRow):
            yield line, text
        elif text.strip():
            yield line, _loads(text.rstrip(), shown, line)


def _loads(text: str, shown: str, line: int) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        return BadRow(shown, line, f"bad JSON: {error.msg} (character {error.pos + 1})")
    except RecursionError:
        return BadRow(shown, line, "bad JSON: nested too deeply")
    except ValueError:
        return BadRow(shown, line, f"bad JSON: {LONG}")


def json_file(path: Path, shown: str) -> Iterator[tuple[int, Any]]:
    """A list of rows, or an object that holds one under "data", with the line each row starts at."""
    text = _valid_text(path, shown)
    start = _skip(text, 0)
    if text[start : start + 1] == "{":
        start = _data_list(text, start, shown)
    if start < 0:
        yield from jsonl(path, shown)
        return
    if text[start : start + 1] != "[":
        raise Refusal(f'{shown}: neither a list of rows nor {{"data": [...]}}')
    line, counted = 1, 0
    for at, row in _items(text, start, shown):
        line += text.count("\n", counted, at)
        counted = at
        yield line, row


def _skip(text: str, at: int) -> int:
    found = SPACE.match(text, at)
    return found.end() if found else at


def _decode(text: str, at: int, shown: str) -> tuple[Any, int]:
    try:
        value, end = json.JSONDecoder().raw_decode(text, at)
    except json.JSONDecodeError as error:
        raise Refusal(f"{shown}:{error.lineno}: bad JSON: {error.msg} (column {error.colno})") from None
    except RecursionError:
        raise Refusal(f"{shown}: bad JSON: nested too deeply") from None
    except ValueError:
        raise Refusal(f"{shown}:{text.count(chr(10), 0, at) + 1}: bad JSON: {LONG}") from None
    return value, _skip(text, end)


def _data_list(text: str, start: int, shown: str) -> int:
    """Where the list under "data" begins in the object at `start`; -1 where the file holds one object per line."""
    whole, end = _decode(text, start, shown)
    if end < len(text):
        return -1
    if not isinstance(whole.get("data"), list):
        raise Refusal(f'{shown}: an object ({", ".join(whole)}) that holds no list of rows under "data"')
    at = _skip(text, start + 1)
    while True:
        key, colon = _decode(text, at, shown)
        at = _skip(text, colon + 1)
        if key == "data":
            return at
        at = _skip(text, _decode(text, at, shown)[1] + 1)


def _items(text: str, start: int, shown: str) -> Iterator[tuple[int, Any]]:
    at = _skip(text, start + 1)
    while text[at : at + 1] != "]":
        row, end = _decode(text, at, shown)
        yield at, row
        if text[end : end + 1] not in (",", "]") or not text[end : end + 1]:
            raise Refusal(f"{shown}:{text.count(chr(10), 0, end) + 1}: bad JSON: expected ',' or ']' after a row")
        at = _skip(text, end + 1) if text[end] == "," else end
    if start == _skip(text, 0) and _skip(text, at + 1) < len(text):
        raise Refusal(f"{shown}:{text.count(chr(10), 0, at) + 1}: bad JSON: more text after the list of rows")


def csv_file(path: Path, shown: str) -> Iterator[tuple[int, Any]]:
    """Comma-separated columns, quoted where needed; the line is the one a row starts at."""
    yield from _table(path, shown, delimiter=",", strict=True)


def tsv_file(path: Path, shown: str) -> Iterator[tuple[int, Any]]:
    """Tab-separated columns; quotes mean nothing."""
    yield from _table(path, shown, delimiter="\t", quoting=csv.QUOTE_NONE)


def _table(path: Path, shown: str, **dialect: Any) -> Iterator[tuple[int, Any]]:
    csv.field_size_limit(2**31 - 1)  # the module's limit of 128 KiB per field is shorter than documents are
    table = csv.reader(io.StringIO(_text(path, shown), newline=""), **dialect)
    header = next((row for row in iter(lambda: _next(table, shown), None) if row), None)
    if isinstance(header, BadRow):
        raise Refusal(str(header))
    names = header or []
    if len(set(names)) != len(names):
        raise Refusal(f"{shown}:1: two columns have the same name: {', '.join(names)}")
    while True:
        line = table.line_num + 1
        row = _next(table, shown)
        if row is None:
            return
        if isinstance(row, BadRow):
            yield line, row
        elif _broken("".join(row)):
            yield line, BadRow(shown, line, "no valid UTF-8; save it as UTF-8")
        elif row and len(row) != len(names):
            columns = words.several(len(row), "column")
            why = otherwise_separated(names) or f"{columns} where the header has {len(names)}"
            yield line, BadRow(shown, line, why)
        elif row:
            yield line, dict(zip(names, row, strict=True))


def _next(table: Any, shown: str) -> list[str] | BadRow | None:
    line = table.line_num + 1
    try:
        return next(table, None)
    except csv.Error as error:
        return BadRow(shown, line, f"bad CSV: {error}")


def text_file(path: Path, shown: str) -> Iterator[tuple[int, Any]]:
    """Documents between lines that hold only the separator, as they are, but for line ends, which become a newline."""
    first, lines = 1, list[str]()
    text = _valid_text(path, shown).replace("\r\n", "\n")
    for number, line in enumerate([*text.split("\n"), SEPARATOR], start=1):
        if line.strip() != SEPARATOR:
            lines.append(line)
            continue
        if any(line.strip() for line in lines):
            yield first, "\n".join(lines)
        first, lines = number + 1, []


def parquet(path: Path, shown: str) -> Iterator[tuple[int, Any]]:
    """Rows of a parquet file."""
    try:
        import pyarrow
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise Refusal(f"{shown}: parquet needs pyarrow: {words.install('data')}") from None
    try:
        rows = (row for part in ParquetFile(path).iter_batches(1024) for row in part.to_pylist())
        yield from enumerate(rows, start=1)
    except pyarrow.ArrowException as error:
        raise Refusal(f"{shown}: no parquet file: {str(error).splitlines()[0]}") from None


Reader = Callable[[Path, str], Iterator[tuple[int, Any]]]
READERS: dict[str, Reader] = {
    ".jsonl": jsonl,
    ".ndjson": jsonl,
    ".json": json_file,
    ".csv": csv_file,
    ".tsv": tsv_file,
    ".parquet": parquet,
    ".txt": text_file,
}


def otherwise_separated(names: Sequence[str]) -> str | None:
    """What a header of one column says where its name holds the mark that values are separated by."""
    mark = next((mark for mark in SEPARATORS if len(names) == 1 and mark in names[0]), None)
    if mark is None:
        return None
    by, way_out = SEPARATORS[mark]
    return f"its one column is called {names[0]!r}, so its values are separated by {by}; {way_out}"


def without_rows(path: Path, shown: str) -> str:
    """What a file holds that can be read and has no row."""
    if not any(_bytes(path)):
        return "the file is empty"
    header = _text(path, shown).strip().partition("\n")[0] if suffix(path, shown) in TABLES else ""
    return f"no row stands below its header ({words.shown(header.strip())})" if header else "it holds no row"
