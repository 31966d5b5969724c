"""Checkpoints read into a number format, or in one."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.zoo import ARCHITECTURES, batch, edit_json, tiny_model_folder, tiny_tokenizer
from transformers import AutoModel, AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel

from accorda.errors import Refusal
from accorda.methods.storage.model import save_model
from accorda.models.load import load_model
from accorda.models.packed import num_parameters, packed_linears
from accorda.quantization import QuantizedLinear, convert, formats, number_format, quantize_model
from accorda.quantization.int8 import Int8Linear, Int8Tensor

DECODERS = ("llama", "gpt2", "gpt_neox")


def assert_same(one: PreTrainedModel, other: PreTrainedModel) -> None:
    """Bit for bit, and no stand-in left."""
    first, second = one.state_dict(), other.state_dict()
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []
    assert [name for name, tensor in first.items() if tensor.numel() > 1 and 0 in tensor.stride()] == []
    assert {n: p.dtype for n, p in one.named_parameters()} == {n: p.dtype for n, p in other.named_parameters()}
    assert {n: type(m) for n, m in one.named_modules()} == {n: type(m) for n, m in other.named_modules()}


def head_of(name: str) -> str:
    return "classification" if name in ("bert", "roberta", "distilbert", "electra") else "language"


@pytest.mark.parametrize("number", formats())
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_reading_one_by_one_is_loading_and_quantizing(name, number, tmp_path, monkeypatch):
    folder = tiny_model_folder(tmp_path, name)
    dense = load_model(folder, device="cpu", head=head_of(name))
    with monkeypatch.context() as patch:  # no weight of a block may be loaded dense
        patch.setattr("accorda.models.load.quantize_model", None)
        packed = load_model(folder, device="cpu", head=head_of(name), quantization=number)
    assert packed.accorda_fingerprint == dense.accorda_fingerprint
    if dense.can_generate():
        assert packed.generation_config.to_dict() == dense.generation_config.to_dict()
    assert_same(packed, quantize_model(dense, number))


def test_files_without_prefix_in_shards_in_another_dtype(tmp_path):
    AutoModel.from_pretrained(tiny_model_folder(tmp_path / "whole", "llama")).save_pretrained(
        tmp_path / "bare", max_shard_size="20KB"
    )
    options = {"dtype": "bf16", "head": "classification", "device": "cpu"}
    dense = load_model(tmp_path / "bare", **options)
    assert_same(load_model(tmp_path / "bare", quantization="nf4", **options), quantize_model(dense, "nf4"))


def test_names_that_transformers_changes_are_loaded_dense_and_then_quantized(tmp_path, monkeypatch):
    folder = tiny_model_folder(tmp_path, "llama")
    dense = load_model(folder, device="cpu")
    monkeypatch.setattr("accorda.models.load.all_known", lambda *_: False)
    assert_same(load_model(folder, device="cpu", quantization="nf4"), quantize_model(dense, "nf4"))


def test_a_checkpoint_with_a_hole_is_refused_here_too(tmp_path):
    folder = tiny_model_folder(tmp_path, "llama")
    tensors = load_file(folder / "model.safetensors")
    for hole in ("model.layers.1.mlp.up_proj.weight", "model.norm.weight"):
        save_file({name: t for name, t in tensors.items() if name != hole}, folder / "model.safetensors")
        with pytest.raises(Refusal, match=f"lacks the tensor {hole}"):
            load_model(folder, quantization="nf4", device="cpu")
    narrow = tensors | {"model.layers.0.mlp.up_proj.weight": torch.zeros(8, 8)}
    save_file(narrow, folder / "model.safetensors")
    with pytest.raises(Refusal, match=r"up_proj.weight in .* has shape \(8, 8\)"):
        load_model(folder, quantization="nf4", device="cpu")


def test_scales_in_32_bits_where_asked_for(tmp_path):
    folder = tiny_model_folder(tmp_path, "llama")
    undoubled = number_format("nf4", double_quantization=False)
    expected = quantize_model(load_model(folder, device="cpu"), undoubled)
    assert_same(load_model(folder, device="cpu", quantization="nf4", double_quantization=False), expected)
    meta = load_model(folder, device="meta", quantization="nf4", double_quantization=False)
    assert {n: p.shape for n, p in meta.named_parameters()} == {n: p.shape for n, p in expected.named_parameters()}
    for options, says in (({}, "only means something with"), ({"quantization": "int8"}, "int8 has no scales to")):
        with pytest.raises(Refusal, match=says):
            load_model(folder, double_quantization=False, device="cpu", **options)


def theirs(folder: Path, out: Path, **how) -> PreTrainedModel:
    """As transformers quantizes it with bitsandbytes, saved."""
    pytest.importorskip("bitsandbytes")
    pytest.importorskip("accelerate")
    config = BitsAndBytesConfig(**how)
    model = AutoModelForCausalLM.from_pretrained(folder, quantization_config=config, device_map="cpu")
    model.save_pretrained(out)
    return model


FOUR = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("double", [True, False])
def test_checkpoints_of_bitsandbytes_load_as_they_are(name, double, tmp_path):
    folder = tiny_model_folder(tmp_path / "dense", name)
    theirs(folder, tmp_path / "packed", **FOUR, bnb_4bit_use_double_quant=double)
    dense = load_model(folder, device="cpu")
    packed = load_model(tmp_path / "packed", device="cpu")
    assert_same(packed, quantize_model(dense, number_format("nf4", double_quantization=double)))
    again = load_model(tmp_path / "packed", device="cpu", quantization="nf4")
    assert again.accorda_fingerprint == packed.accorda_fingerprint != dense.accorda_fingerprint
    meta = load_model(tmp_path / "packed", device="meta")
    assert {n: p.shape for n, p in meta.named_parameters()} == {n: p.shape for n, p in packed.named_parameters()}


def test_their_8_bit_checkpoints_too(tmp_path):
    folder = tiny_model_folder(tmp_path / "dense", "llama")
    theirs(folder, tmp_path / "packed", load_in_8bit=True)
    packed, inputs = load_model(tmp_path / "packed", device="cpu"), batch("llama")
    held = [module for module in packed.modules() if isinstance(module, QuantizedLinear)]
    assert {type(module).__name__ for module in held} == {"Int8Linear"}
    dense = load_model(folder, device="cpu")
    torch.testing.assert_close(
        packed(**inputs).logits, quantize_model(dense, "int8")(**inputs).logits, atol=0.1, rtol=0
    )


def test_what_is_held_in_another_format_is_refused(tmp_path):
    folder = tiny_model_folder(tmp_path / "dense", "llama")
    theirs(folder, tmp_path / "packed", **FOUR)
    with pytest.raises(Refusal, match=r"'int8', but .* holds weights in nf4 already; leave it out"):
        load_model(tmp_path / "packed", quantization="int8", device="cpu")
    theirs(folder, tmp_path / "fp4", load_in_4bit=True)
    with pytest.raises(Refusal, match=r"already quantized \(bitsandbytes\)"):
        load_model(tmp_path / "fp4", device="cpu")
    config = json.loads((tmp_path / "fp4" / "config.json").read_text())["quantization_config"]
    edit_json(tmp_path / "fp4" / "config.json", quantization_config=config | FOUR)
    with pytest.raises(Refusal, match=r"fp4 weights .* cannot be read; int8 and nf4 can"):
        load_model(tmp_path / "fp4", device="cpu")


class Int8Rows(Int8Linear):
    """The same layer, as a format of another name would store it."""

    def stored(self, dtype: torch.dtype) -> dict[str, torch.Tensor]:
        return {"rows": self.CB.data, "largest": self.SCB.data}

    @property
    def settings(self) -> dict[str, Any]:
        return {"quant_method": "rows"}


ROWS = replace(
    formats()["int8"],
    name="rows8",
    layer=Int8Rows,
    read=lambda stored: Int8Tensor(stored["rows"], stored["largest"]),
    declared=lambda said: said.get("quant_method") == "rows",
    parts=lambda path, names: {name: f"{path}.{name}" for name in ("rows", "largest") if f"{path}.{name}" in names},
)


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_a_format_that_no_other_file_knows_is_opened_by_what_it_says_of_itself(name, tmp_path, monkeypatch):
    known = formats() | {"rows8": ROWS}
    monkeypatch.setattr(convert, "formats", lambda: known)
    folder = tiny_model_folder(tmp_path / "dense", name)
    model = quantize_model(load_model(folder, device="cpu"), ROWS)
    save_model(model, tiny_tokenizer(), tmp_path / "packed")
    opened = load_model(tmp_path / "packed", device="cpu")
    assert {type(module) for module in packed_linears(opened).values()} == {Int8Rows}
    assert_same(opened, model)
    assert convert.format_of(opened) is ROWS
    with pytest.raises(Refusal, match=r"'nf4', but .* holds weights in rows8 already"):
        load_model(tmp_path / "packed", quantization="nf4", device="cpu")


SHAPE = {
    "model_type": "llama",
    "hidden_size": 1024,
    "intermediate_size": 2816,
    "num_hidden_layers": 6,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "vocab_size": 8000,
    "tie_word_embeddings": False,
}
MEASURE = """
import resource, sys
from accorda.models.load import load_model
from accorda.models.packed import num_parameters
load_model({tiny!r}, quantization={number!r}, device="cpu")
def resident(): return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
open("/proc/self/clear_refs", "w").write("5")
before = resident()
model = load_model({folder!r}, quantization={number!r}, device="cpu")
peak = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(peak - before, sum(p.nbytes for p in model.parameters()), resident() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux to reset the high-water mark")
@pytest.mark.parametrize("number", formats())
def test_the_dense_model_never_stands_in_memory(number, tmp_path):
    """At the peak, the packed model and twice its largest tensor."""
    tiny = tiny_model_folder(tmp_path / "tiny", "llama")
    folder = tmp_path / "model"
    model = load_model(None, config=SHAPE, device="cpu", dtype="bf16")
    dense, largest = (how(p.nbytes for p in model.parameters()) for how in (sum, max))
    model.save_pretrained(folder)
    code = MEASURE.format(tiny=str(tiny), folder=str(folder), number=number)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    peak, packed, held = map(int, done.stdout.split())
    assert peak <= packed + 2 * largest, (peak, packed, largest)
    assert held <= packed + 8e6
    assert peak < dense


@pytest.mark.parametrize("number", formats())
@pytest.mark.parametrize("name", DECODERS)
def test_parameters_are_counted_as_those_of_the_dense_model(name, number, tmp_path):
    dense = load_model(tiny_model_folder(tmp_path, name), device="cpu")
    expected = dense.num_parameters()
    assert num_parameters(dense) == expected
    assert num_parameters(quantize_model(dense, number_format(number))) == expected
