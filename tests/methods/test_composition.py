"""Several methods under one name in a recipe."""

import pytest
from tests.zoo import make

from accorda.errors import Refusal
from accorda.methods.additive.prompt_tuning import PromptTuning
from accorda.methods.composition import name_of, read, write
from accorda.methods.install import freeze, install, installed
from accorda.methods.reparametrized.lora import LoRA
from accorda.methods.reparametrized.pissa import PiSSA
from accorda.methods.selective.bitfit import BitFit


def test_settings_stand_under_the_name_of_each():
    found = read({"name": "lora + bitfit", "lora": {"rank": 3}})
    assert found == (LoRA(rank=3), BitFit())
    assert name_of(found) == "lora+bitfit"
    assert read(write(found)) == found
    assert read({"name": "lora", "rank": 3}) == (LoRA(rank=3),)
    assert write((PromptTuning(),))["name"] == "prompt_tuning"


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"name": "lora+bitfitt"}, r"method\.name = .*lora\+bitfitt.*: no such method; did you mean bitfit\?"),
        ({"name": "lora+lora"}, "lora is there twice"),
        ({"name": "lora+bitfit", "rank": 3}, r"method\.rank: settings of several methods .* method\.lora\.rank"),
        ({"name": "lora+bitfit", "lora": {"rankk": 3}}, r"method\.lora\.rankk"),
        ({"name": "lora+bitfit", "lora": {"rank": 0}}, r"method\.lora\.rank = 0"),
        ({"name": "lora+"}, "no such method"),
        ({"name": "lora+full", "full": {"keep_base": False}}, r"method\.full\.keep_base = false: .* leave it out"),
    ],
)
def test_refusals(section, words):
    with pytest.raises(Refusal, match=words):
        read(section)


def test_what_does_not_fit_a_model_is_named_as_the_recipe_does():
    model = freeze(make("llama"))
    with pytest.raises(Refusal, match=r"^method\.pissa\.rank = 500: "):
        install(model, (BitFit(), PiSSA(rank=500)))
    with pytest.raises(Refusal, match=r"^method\.rank = 500: "):
        install(model, PiSSA(rank=500))
    assert not installed(model)
