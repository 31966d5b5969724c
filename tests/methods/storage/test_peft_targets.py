"""What a PEFT config targets on a model is what PEFT itself would adapt there, and what we write matches as meant."""

import re

import pytest
from peft import LoraConfig
from peft.tuners.tuners_utils import _maybe_include_all_linear_layers, check_target_module_exists
from peft.utils.other import get_pattern_key
from tests.zoo import make
from torch import nn

from accorda.methods.storage.peft_targets import Targets, pattern_value, targeted, targets_for
from accorda.recipe.reader import read

CONFIGS = [
    {"target_modules": ["q_proj", "v_proj"]},
    {"target_modules": ["self_attn.q_proj", "model.layers.1.mlp.down_proj", "proj"]},
    {"target_modules": r".*layers\.1.*(q|k)_proj"},
    {"target_modules": r"q_proj"},
    {"target_modules": "all-linear"},
    {"target_modules": "ALL-linear", "exclude_modules": ["down_proj"]},
    {"target_modules": ["q_proj", "k_proj"], "exclude_modules": r".*layers\.0\..*"},
    {"target_modules": ["q_proj", "k_proj"], "exclude_modules": ["layers.0.self_attn.q_proj"]},
    {"target_modules": ["q_proj", "k_proj"], "layers_to_transform": 0},
    {"target_modules": ["q_proj", "k_proj"], "layers_to_transform": [1, 7]},
    {"target_modules": ["q_proj", "lm_head"], "layers_to_transform": [1], "layers_pattern": "layers"},
    {"target_modules": ["q_proj", "lm_head"], "layers_to_transform": [1], "layers_pattern": ["h", "layers"]},
    {"target_modules": ["q_proj"], "layers_to_transform": [1], "layers_pattern": ["h"]},
    {"target_modules": ["q_proj"], "layers_to_transform": []},
    {"target_modules": ["c_attn", "query_key_value", "lm_head", "embed_out"]},
]


def by_peft(config: dict, model: nn.Module) -> set[str]:
    peft = _maybe_include_all_linear_layers(LoraConfig(**config), model)
    found = {name: check_target_module_exists(peft, name) for name, _ in model.named_modules() if name}
    return {name for name, result in found.items() if result is True or isinstance(result, re.Match)}


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gpt_neox", "phi3"])
@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_the_same_modules_as_peft(architecture: str, config: dict):
    model = make(architecture, meta=True)
    assert targeted(read(Targets, config), model) == by_peft(config, model)


def test_every_config_means_something_somewhere():
    models = [make(name, meta=True) for name in ("llama", "gpt2")]
    nothing = [config for config in CONFIGS if not any(targeted(read(Targets, config), model) for model in models)]
    assert nothing == [
        {"target_modules": r"q_proj"},
        {"target_modules": ["q_proj"], "layers_to_transform": [1], "layers_pattern": ["h"]},
    ]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({"model.layers.0.mlp.up_proj", "model.layers.1.mlp.up_proj"}, ["up_proj"]),
        ({"model.layers.0.mlp.up_proj"}, ["model.layers.0.mlp.up_proj"]),
        ({"model.norm", "model.layers.0.mlp.up_proj", "model.layers.1.mlp.up_proj"}, ["norm", "up_proj"]),
    ],
)
def test_a_set_of_modules_is_written_shortly_and_exactly(names: set[str], expected: list[str]):
    model = make("llama", meta=True)
    assert targets_for(model, names) == expected
    assert targeted(Targets(target_modules=tuple(expected)), model) == names


def test_adapters_on_the_model_are_no_modules_of_the_base():
    model = make("llama", meta=True)
    model.model.layers[0].mlp.up_proj.adapters = nn.ModuleDict({"up_proj": nn.Linear(2, 2)})
    assert targets_for(model, {f"model.layers.{i}.mlp.up_proj" for i in range(2)}) == ["up_proj"]
    assert "model.layers.0.mlp.up_proj.adapters.up_proj" not in targeted(Targets(target_modules="all-linear"), model)


@pytest.mark.parametrize(
    "name", ["model.layers.1.self_attn.q_proj", "model.layers.11.self_attn.q_proj", "q_proj", "xq_proj"]
)
def test_patterns_match_as_in_peft(name: str):
    patterns = {"layers.1.self_attn.q_proj": 1, r"layers\.\d+\.self_attn.q_proj": 2, "q_proj": 3}
    key = get_pattern_key(list(patterns), name)
    assert pattern_value(patterns, name, 9) == patterns.get(key, 9)
