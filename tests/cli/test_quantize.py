import json

import pytest
import torch

from accorda.cli.main import main
from accorda.methods.open import open_model
from accorda.quantization.nf4 import FORMAT


def quantized(capsys, *arguments):
    assert main(["quantize", *map(str, arguments), "--json"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_a_folder_that_answers_as_the_model_does_in_that_format(tiny, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = quantized(capsys, tiny)
    assert (found["status"], found["output"], found["format"]) == ("quantized", "llama-nf4", "nf4")
    dense = open_model(tiny).model
    inside = sum(p.numel() for n, p in dense.named_parameters() if ".layers." in n and "_proj" in n)
    assert found["packed_numbers"] == inside
    assert found["dense_bytes"] == sum(p.nbytes for p in dense.parameters())
    packed, again = open_model(tiny, quantization="nf4").model, open_model("llama-nf4")
    assert found["bytes"] == sum(p.nbytes for p in packed.parameters())
    ids = torch.arange(3, 20)[None]
    assert torch.equal(again.model(ids).logits, packed(ids).logits)
    assert main(["generate", "llama-nf4", "--prompt", "Hello", "--max-new-tokens", "3"]) == 0


def test_options(tiny, tmp_path, capsys):
    single = quantized(capsys, tiny, "--no-double-quantization", "--output", tmp_path / "a", "--dtype", "bfloat16")
    assert FORMAT.undoubled is not None
    assert single["bits_per_number"] == pytest.approx(4.5)
    assert open_model(tmp_path / "a").model.lm_head.weight.dtype == torch.bfloat16
    eight = quantized(capsys, tiny, "--format", "int8", "--output", tmp_path / "b")
    assert eight["bits_per_number"] > 8
    assert (tmp_path / "b" / "tokenizer.json").is_file()


def test_an_adapter_trained_on_the_dense_model_in_that_format_fits(tiny, adapter, tmp_path, capsys):
    from accorda.methods.open import load_model

    quantized(capsys, tiny, "--output", tmp_path / "packed")
    there = load_model(tmp_path / "packed", adapter=adapter)
    ids = torch.arange(3, 20)[None]
    assert torch.equal(there(ids).logits, load_model(tiny, adapter=adapter, quantization="nf4")(ids).logits)


def test_what_is_refused(tiny, adapter, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def refusal(*arguments):
        assert main(["quantize", *map(str, arguments)]) == 2
        return capsys.readouterr().err.splitlines()[-1]

    assert refusal(tiny, "--format", "int3").endswith("--format = int3: no such number format; did you mean int8?")
    assert refusal(tiny, "--format", "none") == "error: --format = none: no such number format; choose one of int8, nf4"
    assert "int8 has no scales" in refusal(tiny, "--format", "int8", "--no-double-quantization")
    assert "has an adapter, which stays apart; accorda merge" in refusal(adapter)
    assert "'half' is not one of auto" in refusal(tiny, "--dtype", "half")
    assert not list(tmp_path.iterdir())
    quantized(capsys, tiny, "--output", "packed")
    assert refusal("packed", "--output", "x") == (
        "error: MODEL = packed: its weights are in nf4 already; name the dense model"
    )
    assert refusal(tiny, "--output", "packed") == "error: --output packed: exists already; choose a new folder"
