"""Runs started from Python: rows and methods as objects, the flags' names as keywords."""

import pytest
from tests.stages.runs import SUMS, settings

import accorda
from accorda.errors import Refusal
from accorda.recipe.load import load
from accorda.stages import resume
from accorda.stages.train import as_recipe


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ACCORDA_CACHE", str(tmp_path / "cache"))


def test_rows_from_python_are_kept_in_the_run(tmp_path):
    given = settings(tmp_path)
    del given["data"]["train"]
    done = accorda.train({**given, "data": {**given["data"], "train": SUMS}})
    assert done.proven
    assert done.folder is not None
    kept = load(done.folder.recipe)
    assert kept.data.train == f"{done.folder.path}/train.jsonl"
    assert kept.origin("data.train") == f"python: {len(SUMS)} rows, kept in this file"
    assert all(proof.verdict != "fails" for proof in accorda.verify(done.folder.path))
    weights = (done.folder.adapter / "adapter_model.safetensors").read_bytes()
    done.folder.result.unlink()
    assert resume(done.folder).proven
    assert (done.folder.adapter / "adapter_model.safetensors").read_bytes() == weights


def test_a_method_may_be_an_object():
    recipe = as_recipe(None, {"model": "m", "method": accorda.LoRA(rank=3), "lr": 0.1})
    assert recipe.method["name"] == "lora"
    assert recipe.method["rank"] == 3
    assert as_recipe({"method": accorda.LoRA(rank=3)}, {}).method == recipe.method
    assert as_recipe(None, {"method": "lora", "rank": 3}).method == {"name": "lora", "rank": 3}


def test_a_recipe_and_keywords_do_not_mix():
    with pytest.raises(Refusal, match="not both"):
        as_recipe({}, {"model": "m"})
