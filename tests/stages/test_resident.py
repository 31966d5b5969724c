"""One base in memory for several runs."""

import pytest
import torch
from tests.stages.runs import settings
from tests.zoo import batch, make

from accorda.methods.install import freeze, install, remove
from accorda.methods.registry import methods
from accorda.methods.reparametrized.lora import LoRA
from accorda.quantization import quantize_model
from accorda.recipe.load import load
from accorda.stages.resident import Resident, beside, key, shares


@pytest.mark.parametrize("number_format", ["dense", "int8", "nf4"])
@pytest.mark.parametrize("architecture", ["llama", "gpt2", "falcon_alibi", "t5"])
def test_weights_are_shared_and_nothing_else(architecture, number_format):
    model = freeze(make(architecture))
    if number_format != "dense":
        quantize_model(model, number_format)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    said = model(**batch(architecture)).logits
    twins = [install(freeze(beside(model)), LoRA(rank=2)) for _ in range(2)]
    own = dict(model.named_parameters())
    for twin in twins:
        assert all(parameter is own[name] for name, parameter in twin.named_parameters() if "adapters" not in name)
        assert not {id(module) for module in twin.modules()} & {id(module) for module in model.modules()}
    with torch.no_grad():
        for name, parameter in twins[0].named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    assert torch.equal(model(**batch(architecture)).logits, said)
    assert torch.equal(twins[1](**batch(architecture)).logits, said)
    assert not torch.equal(twins[0](**batch(architecture)).logits, said)
    remove(twins[0], "default")
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_only_runs_of_the_same_base_share_one(tmp_path):
    recipes = [
        load(settings(tmp_path, str(number), **sections))
        for number, sections in enumerate(
            [
                {"method": {"name": "lora"}},
                {"method": {"name": "bitfit"}, "training": {"seed": 7, "learning_rate": 0.5}},
                {"model": {"quantization": "int8"}},
                {"training": {"precision": "bf16"}},
            ]
        )
    ]
    same, other, *different = [key(recipe) for recipe in recipes]
    assert same == other
    assert len({same, *different}) == 3
    resident = Resident()
    assert resident.opened(recipes[0]).model is not resident.opened(recipes[1]).model
    with pytest.raises(ValueError, match="different bases"):
        resident.opened(recipes[2])


def test_methods_that_change_the_base_share_none():
    alone = {name for name, method in methods().items() if not shares((method(),))}
    assert {"full", "layernorm"} <= alone
    assert not alone & {"lora", "bitfit", "prompt_tuning", "attention_fusion"}
