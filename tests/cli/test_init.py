import pytest

from accorda.cli.main import main
from accorda.methods.registry import read
from accorda.recipe.explain import LATER, SAYS
from accorda.recipe.layers import leaves, mapping
from accorda.recipe.load import load
from accorda.recipe.sections import Recipe


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("stage", "method"), [("sft", "lora"), ("pretrain", "full")])
def test_the_written_recipe_is_the_defaults(stage, method, here, capsys):
    assert main(["init", stage, "--model", "m", "--data", "d.jsonl"]) == 0
    assert "accorda train" in capsys.readouterr().out
    recipe = load(here / f"{stage}.yaml")
    assert recipe.method["name"] == method
    assert read(recipe.method) == read({"name": method})
    plain = load({"stage": stage, "model": "m", "data": "d.jsonl"})
    assert {**mapping(recipe), "method": None} == {**mapping(plain), "method": None}


def test_every_setting_is_explained_and_nothing_else():
    named = {name for name, _ in leaves(mapping(Recipe()))}
    known = {name for name in named if name.partition(".")[0] not in (*LATER, "method")}
    assert {name for name in SAYS if name != "training.optimizer"} == known - {"training.optimizer.name"}


def test_nothing_is_replaced(here, capsys):
    (here / "sft.yaml").write_text("mine")
    assert main(["init", "sft"]) == 2
    assert (here / "sft.yaml").read_text() == "mine"
    assert main(["init", "sft", "--output", "no/where.yaml"]) == 2
    assert main(["init", "stf"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == "error: STAGE = stf: no such stage; did you mean sft?"
    assert main(["init", "sft", "--method", "lroa", "--output", "x.yaml"]) == 2
    assert not (here / "x.yaml").exists()
