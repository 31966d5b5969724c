"""The registry finds methods by walking folders, and reads them strictly."""

import dataclasses

import pytest

from accorda.errors import Refusal
from accorda.methods import registry
from accorda.methods.reparametrized.lora import LoRA


def test_a_files_name_is_its_methods_name():
    assert registry.methods()["lora"] is LoRA
    assert all(registry.name_of(cls) == name for name, cls in registry.methods().items())


def test_an_idea_has_one_name_in_all_methods():
    """The factor on a change, the blocks of a Kronecker product, what a vector starts at as the field calls it."""
    names = {name: {field.name for field in dataclasses.fields(cls)} for name, cls in registry.methods().items()}
    assert not {name: found for name, found in names.items() if found & {"scale", "alpha_scaling", "a1", "start"}}
    assert all(names[name] >= {"block_shape", "scaling"} for name in ("krona", "krona_b", "krona_b_res"))
    assert "d_initial" in names["vera"]


def test_reads_a_section():
    method = registry.read({"name": "lora", "rank": 8, "target_modules": ["attention.query", "attention.value"]})
    assert method == LoRA(rank=8, target_modules=("attention.query", "attention.value"))


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"name": "lroa"}, ["method.name", "lroa", "did you mean lora"]),
        ({}, ["method.name", "choose one of", "lora"]),
        ({"name": "lora", "rnak": 8}, ["method.rnak", "did you mean", "rank"]),
        ({"name": "lora", "rank": 0}, ["method.rank", "0", "above 0"]),
        ({"name": "prompt_tuning", "init": "text"}, ["method.init = text", "init_text"]),
        ({"name": "adalora", "rank": 16}, ["method.rank = 16: above initial_rank = 12"]),
    ],
)
def test_refuses_by_name(section, words):
    with pytest.raises(Refusal) as refusal:
        registry.read(section)
    assert all(word in str(refusal.value) for word in words), str(refusal.value)


def test_says_where_a_bad_name_came_from():
    with pytest.raises(Refusal, match=r"recipe.yaml:3"):
        registry.read({"name": "lroa"}, origins={"method.name": "recipe.yaml:3"})
    with pytest.raises(Refusal, match=r"method\.rank = 16 \(recipe.yaml:4\): above"):
        registry.read({"name": "adalora", "rank": 16}, origins={"method.rank": "recipe.yaml:4"})
