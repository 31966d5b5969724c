"""The strict reader: what it takes, and that a refusal names setting, value, origin and what is right."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accorda.errors import Refusal
from accorda.recipe.reader import names, read
from accorda.recipe.types import Auto, PositiveFloat, PositiveInt, Probability
from accorda.recipe.words import meant


@dataclass(frozen=True, kw_only=True)
class Inner:
    dropout: Probability = 0.0
    words: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Outer:
    family: ClassVar[str] = "any"
    rank: PositiveInt
    scale: PositiveFloat | Auto = "auto"
    kind: Literal["linear", "cosine"] = "linear"
    deep: bool = False
    path: str | None = None
    columns: dict[str, int] = field(default_factory=dict)
    inner: Inner = field(default_factory=Inner)
    hidden: int = field(default=0, init=False)
    anything: Any = None

    def __post_init__(self) -> None:
        if self.deep and self.rank > 100:
            raise ValueError("rank above 100 cannot be deep")


def refused(mapping: Any, origins: dict[str, str] | None = None) -> str:
    with pytest.raises(Refusal) as caught:
        read(Outer, mapping, at="method", origins=origins)
    message = str(caught.value)
    assert "\n" not in message
    return message


@given(
    rank=st.integers(1, 10**6),
    scale=st.one_of(st.just("auto"), st.integers(1, 9), st.floats(1e-9, 1e9)),
    kind=st.sampled_from(["linear", "cosine"]),
    path=st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"]))),
    words=st.lists(st.text(st.characters(exclude_categories=["Cs"]))),
    dropout=st.floats(0, 1),
)
def test_right_values_arrive_unchanged(rank, scale, kind, path, words, dropout):
    built = read(
        Outer, {"rank": rank, "scale": scale, "kind": kind, "path": path, "inner": {"words": words, "dropout": dropout}}
    )
    assert built == Outer(
        rank=rank, scale=scale, kind=kind, path=path, inner=Inner(words=tuple(words), dropout=dropout)
    )


@given(key=st.text(st.characters(exclude_categories=["Cs"]), min_size=1), value=st.integers())
def test_no_unknown_key_is_ever_taken(key, value):
    fields = {item.name for item in dataclasses.fields(Outer) if item.init}
    if key not in fields:
        assert "no such setting" in refused({"rank": 1, key: value})


@given(
    value=st.one_of(
        st.integers(max_value=0), st.booleans(), st.floats(), st.text(max_size=5), st.none(), st.lists(st.integers())
    )
)
def test_only_whole_numbers_above_zero_are_ranks(value):
    assert "must be a whole number above 0" in refused({"rank": value})


@given(
    value=st.one_of(
        st.floats(max_value=0, exclude_max=False),
        st.just(float("nan")),
        st.just(float("inf")),
        st.booleans(),
        st.text(max_size=9).filter(lambda text: text != "auto"),
    )
)
def test_a_union_with_auto_takes_nothing_else(value):
    assert "method.scale" in refused({"rank": 1, "scale": value})
    assert "must be a number above 0 or auto" in refused({"rank": 1, "scale": value})


def test_the_line_says_what_where_and_how():
    origins = {"method.rank": "run.yaml:7", "method": "run.yaml:6", "method.inner": "run.yaml:9"}
    assert refused({"rank": 0}, origins) == "method.rank = 0 (run.yaml:7): must be a whole number above 0"
    assert refused({"rnak": 8}, origins) == "method.rnak = 8 (run.yaml:6): no such setting; did you mean method.rank?"
    assert (
        refused({"rank": 1, "kind": "cosin"}) == "method.kind = cosin: must be linear or cosine; did you mean cosine?"
    )
    assert refused({"rank": 1, "inner": {"dropout": 2}}, origins) == (
        "method.inner.dropout = 2 (run.yaml:9): must be a number of at least 0 and of at most 1"
    )
    assert refused({"rank": 1, "path": 7}) == "method.path = 7: must be text or null; put it in quotes to make it text"
    assert refused({"rank": 1, "inner": {"words": "a"}}).endswith("must be a list, each text; write [a] for one")
    assert refused({}) == "method.rank: missing; it must be a whole number above 0"
    assert refused([1]) == "method = [1]: must be a mapping of names to values"
    assert refused({"rank": 1, "columns": {"a": "b"}}).startswith('method.columns = {"a": "b"}: must be a mapping')


def test_a_setting_of_another_section_is_found():
    assert (
        refused({"rank": 1, "dropout": 0.1})
        == "method.dropout = 0.1: no such setting; did you mean method.inner.dropout?"
    )


def test_a_setting_of_the_same_section_is_meant_first():
    assert meant("b.rnk", ["a.rank", "b.rank"]) == "; did you mean b.rank?"
    assert meant("a.rnk", ["a.rank", "b.rank"]) == "; did you mean a.rank?"
    assert meant("zzz", ["a.rank"]) == ""


def test_the_classes_own_check_is_a_refusal():
    message = refused({"rank": 101, "deep": True}, {"method": "run.yaml:3"})
    assert message == "method (run.yaml:3): rank above 100 cannot be deep"


def test_what_is_not_a_setting_cannot_be_set():
    assert "no such setting" in refused({"rank": 1, "hidden": 3})
    assert "no such setting" in refused({"rank": 1, "family": "x"})
    assert "hidden" not in names(Outer)


def test_values_that_only_python_has():
    import numpy as np

    assert read(Outer, {"rank": np.int64(3), "path": Path("a/b"), "anything": len}) == Outer(
        rank=3, path="a/b", anything=len
    )
    assert "must be a whole number" in refused({"rank": np.float64(3.0)})
    assert "must be text or null" in refused({"rank": 1, "path": b"a"})


def test_a_long_value_is_shortened_and_control_characters_stay_on_the_line():
    assert len(refused({"rank": "x" * 1000})) < 200
    assert refused({"rank": "a\nb"}).startswith('method.rank = "a\\nb": must')
