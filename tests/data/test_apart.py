"""Rows divided once for several runs."""

import json

import pytest

from accorda.data.apart import as_lines, divided, rows_of
from accorda.errors import Refusal
from accorda.recipe.sections import DataSection
from accorda.recipe.sources import Source

ROWS = [{"question": f"q{number}", "a": {"é": number}} for number in range(100)]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(as_lines(ROWS), encoding="utf-8")
    return str(path)


def test_every_row_is_on_one_side_in_its_order(path):
    train, held = divided(DataSection(train=path, eval_split=0.2), 0, None)
    assert len(held) == 20
    assert sorted(train + held, key=ROWS.index) == ROWS
    assert train == sorted(train, key=ROWS.index)


def test_no_more_rows_are_read_than_are_needed(path):
    train, held = divided(DataSection(train=path, eval_split=0.2), 0, 40)
    assert (len(train), len(held)) == (40, 10)
    assert max(map(ROWS.index, train + held)) == 49


def test_the_same_rows_for_the_same_seed_and_others_for_another(path):
    one, again, other = (divided(DataSection(train=path, eval_split=0.2), seed, None) for seed in (0, 0, 1))
    assert one == again
    assert one != other


def test_equal_rows_stay_together(tmp_path):
    rows = [{"prompt": str(number % 5), "completion": "x"} for number in range(50)]
    train, held = divided(DataSection(train=rows, eval_split=0.2), 0, None)
    assert held
    assert not {row["prompt"] for row in train} & {row["prompt"] for row in held}


def test_what_one_file_cannot_hold_is_refused(path):
    sources = (Source(path=path, weight=2.0), Source(path=path))
    with pytest.raises(Refusal, match="--eval-data"):
        divided(DataSection(train=sources), 0, None)


def test_bad_rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n{broken\n{"a": 2}\n')
    with pytest.raises(Refusal, match=r"rows.jsonl:2: bad JSON"):
        rows_of(DataSection(train=str(path)), "train")
    assert rows_of(DataSection(train=str(path), on_bad_row="skip"), "train") == [{"a": 1}, {"a": 2}]


def test_lines_read_back(path):
    with open(path, encoding="utf-8") as file:
        assert [json.loads(line) for line in file] == ROWS
