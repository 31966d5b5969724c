"""Settings in words."""

import json
from types import SimpleNamespace

import pytest

from accorda.recipe import words


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (None, "pip install 'accorda[data]'"),
        ({"url": "https://host/accorda.whl"}, "pip install 'accorda[data]'"),
        ({"url": "file:///home/me/accorda", "dir_info": {}}, "pip install 'accorda[data]'"),
        ({"url": "file:///home/me/accorda", "dir_info": {"editable": True}}, "pip install -e '/home/me/accorda[data]'"),
    ],
)
def test_an_extra_comes_from_where_accorda_came_from(told, expected, monkeypatch):
    text = None if told is None else json.dumps(told)
    monkeypatch.setattr(words, "distribution", lambda name: SimpleNamespace(read_text=lambda file: text))
    assert words.install("data") == expected


def test_short_forms_are_known():
    assert words.meant("training.lr", ["training.learning_rate", "training.epochs"]) == (
        "; did you mean training.learning_rate?"
    )
