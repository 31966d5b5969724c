import json

from transformers import AutoModelForCausalLM, GPT2Config

import accorda
from accorda.cli.main import main


def test_the_registry_with_its_traits(capsys):
    assert main(["methods", "--json"]) == 0
    entries = json.loads(capsys.readouterr().out)["methods"]
    assert [entry["name"] for entry in entries] == list(accorda.methods())
    assert all(set(entry) == {"name", "family", "kind", "traits", "paper", "defaults"} for entry in entries)
    lora = next(entry for entry in entries if entry["name"] == "lora")
    assert lora["defaults"]["rank"] == accorda.LoRA().rank
    assert lora["traits"]["mergeable"] is True
    assert (lora["family"], lora["kind"]) == ("reparametrized", "module")
    assert main(["methods"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(entries) + 1


def test_an_unknown_name_is_refused_with_what_there_is(capsys):
    assert main(["methods", "lorra"]) == 2
    assert capsys.readouterr().err == "error: NAME = lorra: no such method; did you mean lora?\n"
    assert main(["methods", "nope"]) == 2
    line = capsys.readouterr().err
    assert line.startswith("error: NAME = nope: no such method; choose one of ")
    assert all(name in line for name in accorda.methods())


def test_one_method_with_its_settings(capsys):
    assert main(["methods", "lora"]) == 0
    text = capsys.readouterr().out
    assert "arXiv:2106.09685" in text
    assert "a whole number above 0" in text
    for name in accorda.methods():
        assert main(["methods", name]) == 0


def test_a_method_that_is_none(capsys):
    assert main(["methods", "lroa"]) == 2
    assert capsys.readouterr().err == "error: NAME = lroa: no such method; did you mean lora?\n"


def test_counts_on_a_model_are_those_of_the_built_adapter(tiny, capsys):
    from accorda.methods.install import freeze, install, trainable
    from accorda.models.load import load_model

    model = load_model(tiny)
    install(freeze(model), accorda.LoRA())
    built = sum(parameter.numel() for parameter in trainable(model).values())
    assert main(["methods", "lora", "--model", str(tiny), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["methods"][0]["parameters"]["trained"] == built
    assert main(["methods", "lora", "--model", str(tiny)]) == 0
    assert f"{built:,} trained" in capsys.readouterr().out
    assert main(["methods", "--model", str(tiny), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {item["name"] for item in found["methods"]} == set(accorda.methods())
    assert found["num_parameters"] == sum(parameter.numel() for parameter in load_model(tiny).parameters())
    assert next(item for item in found["methods"] if item["name"] == "lora")["parameters"]["trained"] == built


def test_what_does_not_fit_a_model_is_listed_with_the_reason(capsys, tmp_path):
    narrow = GPT2Config(n_embd=6, n_head=2, n_layer=1, vocab_size=11)
    AutoModelForCausalLM.from_config(narrow).save_pretrained(tmp_path)
    assert main(["methods", "--model", str(tmp_path), "--json"]) == 0
    found = {item["name"]: item for item in json.loads(capsys.readouterr().out)["methods"]}
    assert found["bitfit"]["parameters"]["trained"] > 0
    assert found["compacter"]["parameters"] is None
    assert "6" in found["compacter"]["refused"]
    assert main(["methods", "--model", str(tmp_path)]) == 0
    assert f"compacter: {found['compacter']['refused']}" in capsys.readouterr().out
