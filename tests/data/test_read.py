"""Every kind of file gives the same rows with their lines; what is broken is told with its place."""

import csv
import gzip
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accorda.data import read
from accorda.data.example import BadRow
from accorda.data.read import read_file
from accorda.data.sources import Origin, origins
from accorda.errors import Refusal
from accorda.recipe.sections import DataSection
from accorda.recipe.sources import Source
from accorda.recipe.words import install

ROWS = [{"prompt": "a", "completion": "1"}, {"prompt": "é\n\"quoted\", 'x'", "completion": "🎈\t,"}]


def parsed(path: Path) -> list[tuple[int, Any]]:
    return [(line, str(row) if isinstance(row, BadRow) else row) for _, line, row in read_file(path, path.name)]


def write(tmp_path: Path, name: str, content: str | bytes) -> Path:
    raw = content.encode() if isinstance(content, str) else content
    path = tmp_path / name
    path.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    return path


def as_csv(rows: list[dict[str, str]]) -> str:
    out = io.StringIO()
    table = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return out.getvalue()


FORMS = {
    "rows.jsonl": (lambda: "\n".join(map(json.dumps, ROWS)), [1, 2]),
    "rows.ndjson": (lambda: "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS), [1, 2]),
    "list.json": (lambda: json.dumps(ROWS, indent=1), [2, 6]),
    "data.json": (lambda: json.dumps({"version": [1, {"data": 2}], "data": ROWS, "end": {}}, indent=1), [9, 13]),
    "lines.json": (lambda: "\n".join(map(json.dumps, ROWS)), [1, 2]),
    "rows.csv": (lambda: as_csv(ROWS), [2, 3]),
}


@pytest.mark.parametrize("name", ["list.json", "list.json.gz"])
def test_of_a_long_line_a_few_bytes_tell_what_the_file_is(tmp_path, monkeypatch, name: str):
    heads = []
    monkeypatch.setattr(read, "refuse_disguised", lambda head, shown: heads.append(head))
    assert len(parsed(write(tmp_path, name, json.dumps(ROWS)))) == len(ROWS)
    assert heads == [b'[{"p']


@pytest.mark.parametrize("zipped", ["", ".gz"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
@pytest.mark.parametrize("name", FORMS)
def test_the_same_rows_from_every_file(tmp_path, name: str, bom: str, zipped: str):
    content, lines = FORMS[name][0](), FORMS[name][1]
    assert parsed(write(tmp_path, name + zipped, bom + content)) == list(zip(lines, ROWS, strict=True))


@pytest.mark.parametrize("name", ["rows.jsonl", "list.json", "data.json"])
def test_windows_line_ends_and_empty_lines(tmp_path, name: str):
    content = FORMS[name][0]().replace("\n", "\r\n\r\n")
    assert [row for _, row in parsed(write(tmp_path, name, "\r\n" + content + "\r\n"))] == ROWS


def test_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "rows.parquet")
    assert parsed(tmp_path / "rows.parquet") == [(1, ROWS[0]), (2, ROWS[1])]
    with pytest.raises(Refusal, match="no parquet file"):
        parsed(write(tmp_path, "false.parquet", "text"))


def test_types_are_not_inferred_from_other_rows(tmp_path):
    """What Arrow refuses: a column that is text here, a number, a list or missing there."""
    rows = [{"x": "1"}, {"x": 1}, {"x": [1, {"y": None}]}, {"z": True}]
    assert [row for _, row in parsed(write(tmp_path, "mixed.jsonl", "\n".join(map(json.dumps, rows))))] == rows


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"a": 1', "rows.jsonl:2: bad JSON: Expecting ',' delimiter (character 8)"),
        (b'{"a": 1} x', "rows.jsonl:2: bad JSON: Extra data (character 10)"),
        (b'{"a": "\xff"}', "rows.jsonl:2: no valid UTF-8 (byte 8 of the line); save it as UTF-8"),
        (b"[1]", "rows.jsonl:2: the row is list, not an object"),
        (b"3", "rows.jsonl:2: the row is int, not an object"),
        (b"[" * 100_000, "rows.jsonl:2: bad JSON: nested too deeply"),
    ],
)
def test_a_broken_line_is_one_bad_row(tmp_path, line: bytes, reason: str):
    path = write(tmp_path, "rows.jsonl", b'{"a": 1}\n' + line + b'\n{"a": 2}\n')
    assert parsed(path) == [(1, {"a": 1}), (2, reason), (3, {"a": 2})]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", '[\n{"a": 1},\n{"a" 2}]', "a.json:3: bad JSON: Expecting ':' delimiter"),
        ("a.json", '[\n{"a": 1}\n{"a": 2}]', "a.json:3: bad JSON: expected ',' or ']' after a row"),
        ("a.json", '[{"a": 1}', "a.json:1: bad JSON: expected ',' or"),
        ("a.json", '[{"a": 1}, ', "a.json:1: bad JSON: Expecting value"),
        ("a.json", '[{"a": 1}]\n[]', "a.json:1: bad JSON: more text after the list"),
        ("a.json", '{"rows": []}', r'a.json: an object (rows) that holds no list of rows under "data"'),
        ("a.json", '"text"', 'a.json: neither a list of rows nor {"data"'),
        ("a.json", b'[{"a": "\xff"}]', "a.json:1: no valid UTF-8; save it as UTF-8"),
        ("a.txt", b"x\ny\xff", "a.txt:2: no valid UTF-8; save it as UTF-8"),
        ("a.jsonl", "{}".encode("utf-16"), "a.jsonl: UTF-16 text; save it as UTF-8"),
        ("a.csv", "a,b,a\n1,2,3", "a.csv:1: two columns have the same name: a, b, a"),
        ("a.xlsx", "x", "a.xlsx: cannot read .xlsx; save it as .csv"),
        ("a", "x", "a: cannot read a file without an ending"),
    ],
)
def test_files_that_cannot_be_read_are_refused_in_one_line(tmp_path, name: str, content: str | bytes, message: str):
    with pytest.raises(Refusal) as error:
        parsed(write(tmp_path, name, content))
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_a_gzip_file_that_is_none_is_refused(tmp_path):
    (tmp_path / "a.jsonl.gz").write_text("{}")
    with pytest.raises(Refusal, match=r"a\.jsonl\.gz: cannot be read"):
        parsed(tmp_path / "a.jsonl.gz")
    whole = gzip.compress(b'{"a": 1}\n' * 10_000)
    (tmp_path / "cut.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Refusal, match=r"cut\.jsonl\.gz: cannot be read"):
        parsed(tmp_path / "cut.jsonl.gz")


def test_values_between_semicolons_are_told_also_where_they_hold_commas(tmp_path):
    ((line, told),) = parsed(write(tmp_path, "t.csv", b"question;answer\nwell, how;so\n"))
    assert (line, "so its values are separated by ';'; save it with commas" in told) == (2, True)


def test_csv_tells_ragged_and_broken_rows_with_the_line_they_start_at(tmp_path):
    content = b'a,b\n1,"x\ny"\n1\n2,\xff\n3,4,5\n\n6,7\n8,"open\n'
    assert parsed(write(tmp_path, "t.csv", content)) == [
        (2, {"a": "1", "b": "x\ny"}),
        (4, "t.csv:4: 1 column where the header has 2"),
        (5, "t.csv:5: no valid UTF-8; save it as UTF-8"),
        (6, "t.csv:6: 3 columns where the header has 2"),
        (8, {"a": "6", "b": "7"}),
        (9, "t.csv:9: bad CSV: unexpected end of data"),
    ]
    long = "x" * 300_000
    assert parsed(write(tmp_path, "long.csv", f"a\n{long}\n")) == [(2, {"a": long})]
    assert parsed(write(tmp_path, "empty.csv", "")) == []
    assert parsed(write(tmp_path, "late.csv", "\n\r\na,b\n1,2\n")) == [(4, {"a": "1", "b": "2"})]


def test_quotes_in_tsv_are_ordinary(tmp_path):
    assert parsed(write(tmp_path, "t.tsv", 'a\tb\n"x" y\t1\n"z\t2\n')) == [
        (2, {"a": '"x" y', "b": "1"}),
        (3, {"a": '"z', "b": "2"}),
    ]


def test_text_files_are_documents(tmp_path):
    assert parsed(write(tmp_path, "one.txt", "a\r\n\r\nb\n")) == [(1, {"text": "a\n\nb\n"})]
    content = "a\n\nb\n<|endoftext|>\n\n  <|endoftext|> \nc <|endoftext|>\nd\n<|endoftext|>\n"
    assert parsed(write(tmp_path, "many.txt", content)) == [
        (1, {"text": "a\n\nb"}),
        (7, {"text": "c <|endoftext|>\nd"}),
    ]
    assert parsed(write(tmp_path, "empty.txt", "\n \n")) == []
    assert parsed(write(tmp_path, "strings.jsonl", '"a"\n"b"')) == [(1, {"text": "a"}), (2, {"text": "b"})]


VALUES = st.integers() | st.text(max_size=5) | st.lists(st.dictionaries(st.text(max_size=2), st.none(), max_size=2))


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.dictionaries(st.text(max_size=3), VALUES, max_size=3), max_size=5))
def test_json_lists_and_lines_agree(tmp_path, rows: list[dict[str, Any]]):
    listed = write(tmp_path, "a.json", json.dumps(rows, indent=2))
    lines = write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)))
    assert [row for _, row in parsed(listed)] == [row for _, row in parsed(lines)] == rows
    text = listed.read_text().split("\n")
    for line, _ in parsed(listed):
        assert text[line - 1].lstrip().startswith("{")


def section(train: Any) -> DataSection:
    return DataSection(train=train)


def test_folders_patterns_and_settings_of_a_source(tmp_path):
    for name in ("b.jsonl", "a.csv", "notes.pdf", "c.jsonl.gz"):
        write(tmp_path, name, "x")
    found = origins(section((Source(path=str(tmp_path), weight=2.0, format="text"),)), "train")
    assert [(Path(one.shown).name, one.weight, one.format) for one in found] == [
        ("a.csv", 2.0, "text"),
        ("b.jsonl", 2.0, "text"),
        ("c.jsonl.gz", 2.0, "text"),
    ]
    assert len(origins(section(str(tmp_path / "*.jsonl*")), "train")) == 2
    assert origins(section(None), "eval") == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("trian.jsonl", "no such file; did you mean {folder}/train.jsonl?"),
        ("train.json", "no such file; did you mean {folder}/train.jsonl?"),
        ("elsewhere/x.jsonl", "no such file"),
        ("rows.jsonl", "no such file"),
        ("drain_of_sinks.jsonl", "no such file"),
        ("notes.jsonl", "no such file"),
        ("empty", "a folder without any file that ends in .jsonl"),
        ("*.csv", "no such file"),
    ],
)
def test_paths_that_hold_nothing(tmp_path, name: str, message: str):
    write(tmp_path, "train.jsonl", "{}")
    write(tmp_path, "notes.md", "no rows")
    (tmp_path / "empty").mkdir()
    with pytest.raises(Refusal) as error:
        origins(section(str(tmp_path / name)), "train")
    told = f"data.train: {tmp_path / name}: {message.format(folder=tmp_path)}"
    assert str(error.value).startswith(told) if name == "empty" else str(error.value) == told
    with pytest.raises(Refusal, match="empty path"):
        origins(section(" "), "train")


def test_rows_from_python_are_read_and_identified_by_content():
    first, same, other = (Origin("rows", rows=rows) for rows in ([{"a": 1}, "b", 3], [{"a": 1}, "b", 3], [{"a": 2}]))
    assert [str(row) if isinstance(row, BadRow) else row for _, _, row in first.read()] == [
        {"a": 1},
        {"text": "b"},
        "rows:3: the row is int, not an object",
    ]
    assert first.digest() == same.digest() != other.digest()


def test_data_sets_of_the_hub(monkeypatch):
    datasets = pytest.importorskip("datasets")
    asked = []

    def load(*names: str, split: str) -> Any:
        asked.append((*names, split))
        if split == "none":
            raise ValueError("Unknown split\n'none'")
        return datasets.Dataset.from_list([{"text": "a"}, {"text": "b"}])

    monkeypatch.setattr(datasets, "load_dataset", load)
    for name in ("hf:owner/name:train", "hf:owner/name:main:train"):
        (origin,) = origins(section(name), "train")
        for _ in range(2):  # it can be read again
            assert list(origin.read()) == [(name, 1, {"text": "a"}), (name, 2, {"text": "b"})]
    assert asked == [("owner/name", "train"), ("owner/name", "main", "train")]
    with pytest.raises(Refusal, match=r"hf:owner/name:none: cannot be loaded: Unknown split$"):
        origins(section("hf:owner/name:none"), "train")
    with pytest.raises(Refusal, match="write hf:owner/name:split"):
        origins(section("hf:owner/name"), "train")


@pytest.mark.parametrize(("module", "name"), [("pyarrow", "a.parquet"), ("datasets", "hf:owner/name:train")])
def test_extras_that_are_not_installed_are_named(monkeypatch, tmp_path, module: str, name: str):
    monkeypatch.setitem(__import__("sys").modules, module, None)
    write(tmp_path, "a.parquet", "x")
    with pytest.raises(Refusal, match=re.escape(install("data"))):
        list(origins(section(name if ":" in name else str(tmp_path / name)), "train")[0].read())
