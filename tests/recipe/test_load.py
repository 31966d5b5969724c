"""A recipe from file, command line and Python, and back: equal values, equal origins, nothing given twice."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accorda.errors import Refusal
from accorda.recipe.layers import leaves, mapping
from accorda.recipe.load import from_keywords, load
from accorda.recipe.sections import DataSection, Recipe
from accorda.recipe.sources import Source
from accorda.recipe.write import dump, rows_in_files

FILE = """\
model: ./m
data:
  train: [{path: a.jsonl, weight: 2}, b.jsonl]
  columns: {prompt: question}
method: {name: dora, rank: 8}
training:
  optimizer: adafactor
  learning_rate: 1e-4   # a comment of the user
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(FILE)
    return path


def refused(*arguments: Any, **keywords: Any) -> str:
    with pytest.raises(Refusal) as caught:
        load(*arguments, **keywords)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_values_and_their_origins(file):
    recipe = load(file, ["training.batch_size=16"], {"training.epochs": 2})
    assert recipe.model.path == "./m"
    assert recipe.data.sources("train") == (
        Source(path="a.jsonl", weight=2.0, format="auto", columns={"prompt": "question"}),
        Source(path="b.jsonl", format="auto", columns={"prompt": "question"}),
    )
    assert recipe.method == {"name": "dora", "rank": 8}
    assert recipe.training.learning_rate == 1e-4
    assert recipe.training.optimizer == {"name": "adafactor"}
    assert (recipe.training.batch_size, recipe.training.epochs) == (16, 2)
    assert recipe.origin("model.path") == f"{file}:1"
    assert recipe.origin("data.columns.prompt") == f"{file}:4"
    assert recipe.origin("training.learning_rate") == f"{file}:8"
    assert recipe.origin("training.batch_size") == "command line"
    assert recipe.origin("training.schedule") == "default"


def test_every_setting_has_an_origin(file):
    recipe = load(file)
    assert {name for name, _ in leaves(mapping(recipe))} <= set(recipe.origins)


def test_the_defaults():
    assert load().method == {"name": "lora"}
    assert load({"stage": "pretrain"}).method == {"name": "full"}
    assert load({"method": {"rank": 4}}).method == {"name": "lora", "rank": 4}
    assert load().origin("method.name") == "default"
    assert load() == Recipe(method={"name": "lora"})


def test_the_written_recipe_reads_back_equal_with_its_origins(file, tmp_path):
    recipe = load(file, ["evaluation.metrics=[rouge, bleu]", "data.eval=c: d # e.jsonl"])
    recipe = recipe.with_value("data.max_length", 512, "auto: the model's positions")
    recipe = recipe.with_settings("method", {"rank": 99, "alpha": 32.0})
    written = tmp_path / "recipe.yaml"
    written.write_text(dump(recipe))
    again = load(written)
    assert again == recipe
    assert again.origins == {name: origin for name, origin in recipe.origins.items() if "[" not in name} | {
        name: origin for name, origin in again.origins.items() if "[" in name
    }
    assert again.method == {"name": "dora", "rank": 8, "alpha": 32.0}
    assert again.origin("method.alpha") == "default"
    assert again.origin("data.max_length") == "auto: the model's positions"
    assert dump(again) == dump(recipe)


def test_an_edited_recipe_loses_the_origins_written_in_it(file, tmp_path):
    written = tmp_path / "recipe.yaml"
    written.write_text(dump(load(file)).replace("batch_size: 32", "batch_size: 64"))
    recipe = load(written)
    assert recipe.training.batch_size == 64
    assert recipe.origin("training.batch_size").startswith(f"{written}:")


@pytest.mark.parametrize(
    "text",
    [".5", ".inf", "null", "True", "~", "1e5", "7", "a: b", "- x", "#x", "a #b", "a:b", "é", "\x85", "{", "a ", "'"],
)
def test_text_that_looks_like_something_else_stays_text(text, tmp_path):
    (tmp_path / "recipe.yaml").write_text(dump(Recipe(output=text)), encoding="utf-8")
    assert load(tmp_path / "recipe.yaml").output == text


def test_what_is_replaced_leaves_no_origins_behind(file):
    assert load(file).origin("data.train[0].weight") == f"{file}:3"
    assert not any("[" in name for name in load(file, ["data.train=x.jsonl"]).origins)


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=8,
)


@settings(max_examples=200)
@given(values=st.dictionaries(st.text(), VALUES, max_size=5), text=st.text(min_size=1))
def test_any_value_survives_the_file(values, text, tmp_path_factory):
    recipe = Recipe(method={"name": "lora"}, algorithm=values, output=text)
    path = tmp_path_factory.mktemp("round") / "recipe.yaml"
    path.write_text(dump(recipe), encoding="utf-8", errors="surrogatepass")
    again = load(path)
    assert again.output == text
    assert again.algorithm == values
    assert [type(value) for _, value in leaves(again.algorithm)] == [type(value) for _, value in leaves(values)]


@pytest.mark.parametrize(
    "scalar", ["no", "on", "010", "1:30", "1e-4", "2020-01-01", ".5", "-.5e3", "0x10", "1_000", "+1", "~", ""]
)
def test_scalars_mean_what_yaml_1_2_says(scalar):
    meaning = {"010": 10, "1e-4": 1e-4, ".5": 0.5, "-.5e3": -500.0, "+1": 1, "~": None, "": None}
    value = load(None, [f"algorithm.x={scalar}"]).algorithm["x"]
    assert value == meaning.get(scalar, scalar)
    assert type(value) is type(meaning.get(scalar, scalar))


def test_values_are_checked_where_they_come_from(file):
    assert refused(file, ["training.batch_size=0"]) == (
        "training.batch_size = 0 (command line): must be a whole number above 0"
    )
    assert refused(file, ["batch_size=3"]).endswith("no such setting; did you mean training.batch_size?")
    file.write_text(FILE.replace("rank: 8", "rank: 8\n  }\ntraning: {a: 1"))
    assert refused(file) == f'traning = {{"a": 1}} ({file}:7): no such setting; did you mean training?'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [1", ":1: not valid YAML"),
        ("- a\n- b", "must be a mapping"),
        ("stage: sft\nstage: sft", ":2: stage is given twice (first in line 1)"),
        ("training: {seed: 1, seed: 2}", ":1: training.seed is given twice"),
        ("a: &x {b: *x}", "contains itself"),
        ("a: !!python/object:os.system {}", "not valid YAML"),
        ("a: 1\n---\nb: 2", "not valid YAML"),
        ("? [a, b]\n: c", "not valid YAML"),
        ("data: {train: [{pat: x}]}", "data.train[0].pat = x"),
        ("data: {train: [{prompt: a, completion: b}]}", "data.train[0].prompt = a"),
        ("data: {train: 3}", "data.train = 3"),
        ("data: {train: []}", "data.train = []"),
        ("data: [1]", "data.train[0] = 1"),
    ],
)
def test_bad_files_are_refused_in_one_line(tmp_path, text, says):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    assert says in refused(path)
    assert str(path) in refused(path)


def test_files_that_are_none(tmp_path):
    assert refused(tmp_path / "none.yaml").endswith("cannot be read as a recipe: no such file or directory")
    assert refused(tmp_path).endswith("is a directory")
    (tmp_path / "latin.yaml").write_bytes(b"model: \xe9")
    assert "not UTF-8" in refused(tmp_path / "latin.yaml")


def test_a_setting_may_be_said_once(file):
    assert "already given as 3; say it once" in refused(file, ["training.epochs=3"], {"training.epochs": 2})
    assert load(file, ["training.epochs=3"], {"training.epochs": 3}).training.epochs == 3
    assert "KEY.PATH=VALUE" in refused(file, ["training.epochs"])
    assert refused(None, ["training.epochs=[1"]).startswith("training.epochs = [1 (command line): not valid YAML")


def test_rows_come_from_python_only_and_go_into_files(tmp_path):
    rows = [{"prompt": "a", "path": "b"}, {"prompt": "c", "path": "é\n"}]
    recipe = from_keywords(model="m", data=rows, rank=4, training={"epochs": 3}, lr=1e-3)
    assert recipe.data.rows("train") is not None
    assert recipe.data.sources("train") == ()
    assert recipe.data.train == rows
    assert (recipe.method, recipe.training.epochs, recipe.training.learning_rate) == (
        {"name": "lora", "rank": 4},
        3,
        1e-3,
    )
    named, texts = rows_in_files(recipe, "runs/a")
    assert named.data.train == "runs/a/train.jsonl"
    import json

    assert [json.loads(line) for line in texts["train.jsonl"].splitlines()] == rows


def test_sources_from_python_are_not_rows():
    recipe = load({"data": [{"path": "a.jsonl", "weight": 3}, {"path": "b.jsonl"}]})
    assert recipe.data.sources("train") == (
        Source(path="a.jsonl", weight=3.0, format="auto"),
        Source(path="b.jsonl", format="auto"),
    )
    assert DataSection(train="x").sources("train") == (Source(path="x", format="auto"),)
    assert DataSection().sources("eval") == ()


def test_the_users_mapping_is_not_touched():
    given = {"training": {"optimizer": {"name": "adamw"}}, "method": "lora"}
    load(given, ["training.optimizer.name=adafactor", "method.rank=3"])
    assert given == {"training": {"optimizer": {"name": "adamw"}}, "method": "lora"}


def test_keywords_that_are_none():
    with pytest.raises(Refusal, match="did you mean epochs"):
        from_keywords(epoch=3)


def test_a_needed_setting_left_open():
    with pytest.raises(Refusal, match=r"model\.path: missing; name one with --model"):
        load().require("model.path", "name one with --model")
    load({"model": "x"}).require("model.path", "name one with --model")


def test_a_decided_value_is_checked_too():
    with pytest.raises(Refusal, match=r"data\.max_length"):
        load().with_value("data.max_length", 0, "auto: nothing")


def test_rows_in_the_place_of_a_recipe_are_known(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("prompt,completion\na,b: c\n")
    assert refused(path) == f"{path}: a file of rows and no recipe; give it with --data {path}"
