"""Which columns are read, and what is refused."""

import pytest

from accorda.data.example import RowError
from accorda.data.labelled.columns import choose
from accorda.errors import Refusal


@pytest.mark.parametrize(
    ("row", "columns", "expected"),
    [
        ({"text": "a", "label": 1}, {}, {"text": "text", "label": "label"}),
        ({"sentence": "a", "label": 1, "idx": 3}, {}, {"text": "sentence", "label": "label"}),
        ({"premise": "a", "hypothesis": "b", "label": "x"}, {}, {"text": "premise", "text_pair": "hypothesis"}),
        ({"text": "a", "text_pair": "b", "class": "x"}, {}, {"text_pair": "text_pair", "label": "class"}),
        ({"review": "a", "stars": 3}, {"label": "stars"}, {"text": "review", "label": "stars"}),
        ({"a": "x", "b": "y"}, {"text": "a", "label": "b"}, {"text": "a", "label": "b"}),
        ({"sentence": "a", "label": 1, "category": "x"}, {}, {"label": "label"}),
    ],
)
def test_columns_are_found(row, columns, expected):
    found = dict(choose(row, "f:1", columns=columns).columns)
    assert {field: found[field] for field in expected} == expected
    assert ("text_pair" in found) == ("text_pair" in expected or "hypothesis" in row)


@pytest.mark.parametrize(
    ("row", "columns", "line"),
    [
        (
            {"a": "x", "label": 1},
            {},
            "f:1: none of its columns (a, label) is the text; say which: --column text=COLUMN",
        ),
        ({"text": "x", "stars": 1}, {}, "f:1: none of its columns (text, stars) is the label; say which: --column"),
        ({"review": "x", "content": "y", "label": 1}, {}, "content and review could each be the text; say which"),
        ({"text": "x", "label": 1}, {"label": "stars"}, "no column 'stars'; the row has text, label"),
        ({"text": "x", "label": 1}, {"prompt": "text"}, "prompt=text: prompt is none of our fields; fields are "),
        ({"prompt": "x", "label": 1}, {"prompt": "text"}, "prompt=text: the other way round: --column text=prompt"),
    ],
)
def test_what_is_unclear_is_refused(row, columns, line):
    with pytest.raises(Refusal) as refused:
        choose(row, "f:1", columns=columns)
    assert line in str(refused.value)


@pytest.mark.parametrize(
    ("label", "expected"), [("pos", "pos"), (" pos ", "pos"), (3, "3"), (True, "true"), (2.5, 2.5), ("2.5", "2.5")]
)
def test_a_label_is_a_name_or_a_number(label, expected):
    assert choose({"text": "a", "label": label}, "f:1").parse({"text": "a", "label": label}).label == expected


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"text": "a", "label": None}, "no label"),
        ({"text": "a", "label": " "}, "no label"),
        ({"text": "a"}, "no column 'label'"),
        ({"text": "a", "label": ["x", "y"]}, "a list; a row has one label"),
        ({"text": "a", "label": float("nan")}, "no number to learn"),
        ({"text": "  ", "label": "x"}, "'text' is empty"),
        ({"text": 3, "label": "x"}, "text"),
    ],
)
def test_bad_rows_say_what_is_wrong(row, words):
    columns = choose({"text": "a", "label": "x"}, "f:1")
    with pytest.raises(RowError, match=words):
        columns.parse(row)
