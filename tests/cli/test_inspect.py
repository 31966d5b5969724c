import json

import pytest
from tests.zoo import DECODERS, tiny_model_folder

from accorda.cli.inspect import ranges
from accorda.cli.main import main
from accorda.models.load import load_model


def told(capsys, *arguments: str) -> dict:
    assert main(["inspect", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_what_a_model_is_made_of(tiny, capsys):
    model = load_model(tiny)
    found = told(capsys, str(tiny))
    assert found["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    assert (found["blocks"], found["width"], found["context"]) == (2, 32, model.config.max_position_embeddings)
    assert found["vocabulary"] == model.get_input_embeddings().weight.shape[0]
    assert found["tokens"]["eos_token"] == "</s>"
    assert found["tokens"]["stop"] == ["</s>"]
    roles = {item["role"]: item for item in found["roles"]}
    query = next(module for name, module in model.named_modules() if name.endswith("layers.0.self_attn.q_proj"))
    assert (roles["attention.query"]["in_features"], roles["attention.query"]["out_features"]) == query.weight.shape[
        ::-1
    ]
    assert roles["attention.query"]["count"] == 2
    assert found["method"]["parameters"]["trained"] > 0
    assert main(["inspect", str(tiny)]) == 0
    assert "lora would train" in capsys.readouterr().out


@pytest.mark.parametrize("name", DECODERS)
def test_every_decoder(name, capsys, tmp_path):
    folder = tiny_model_folder(tmp_path / name, name)
    found = told(capsys, str(folder), "--method", "bitfit")
    roles = {item["role"] for item in found["roles"]}
    assert {"attention.query", "attention.key", "attention.value", "attention.output", "embedding", "head"} <= roles
    fused = any(item["fused_part"] for item in found["roles"])
    assert fused == name.startswith(("gpt", "phi3", "falcon"))


def test_targets_that_match_nothing_are_told_not_raised(tiny, capsys):
    found = told(capsys, str(tiny), "--target", "q_projj")
    assert "matches nothing" in found["method"]["refused"]
    assert main(["inspect", str(tiny), "--target", "q_projj"]) == 0
    assert "lora cannot: " in capsys.readouterr().out


def test_an_adapter_is_its_base(tiny, adapter, capsys):
    assert told(capsys, str(adapter))["roles"] == told(capsys, str(tiny))["roles"]


def test_rows_as_ranges():
    assert ranges([0, 1, 2, 5, 6, 9]) == "0-2, 5-6, 9-9"
    assert ranges([0, 2, 4, 6]) == "0-0, 2-2, 4-4, ..."


def test_what_is_no_model(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["inspect", "nowhere"]) == 2
    assert capsys.readouterr().err.startswith("error: model.path = nowhere: no such folder")
