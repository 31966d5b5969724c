"""(IA)3 both ways with PEFT: files that plain PEFT reads, files by PEFT that we read, and what is refused."""

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import IA3Config, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from tests.zoo import batch, make
from transformers import PreTrainedModel

from accorda.errors import Refusal
from accorda.methods.additive.ia3 import IA3
from accorda.methods.install import freeze, install, installed, own_tensors
from accorda.methods.storage import load_adapter, save_adapter
from accorda.methods.storage.files import CONFIG, TENSORS, equal_bytes
from accorda.quantization import quantize_model

pytestmark = [pytest.mark.filterwarnings(f"ignore:{words}") for words in ("fan_in_fan_out is set", "Setting `save_emb")]
OURS = {
    "llama": IA3(),
    "gpt2": IA3(),
    "gpt_neox": IA3(),
    "phi3": IA3(),
    "falcon_multi_query": IA3(),
    "bert": IA3(),
    "t5": IA3(),
    "bart": IA3(),
    "qwen2": IA3(target_modules="all-linear", feedforward_modules=("o_proj", "down_proj")),
    "mistral": IA3(target_modules="all-linear", feedforward_modules=()),
    "roberta": IA3(target_modules=("dense", "key"), feedforward_modules="mlp.down"),
}
BY_DEFAULT = ("llama", "gpt2", "gpt_neox", "phi", "falcon_new", "gemma", "bert", "t5", "bart")


@torch.no_grad()
def stir(tensors: Any) -> None:
    generator = torch.Generator().manual_seed(1)
    for tensor in tensors:
        tensor += 0.3 * torch.randn(tensor.shape, generator=generator)


@torch.no_grad()
def logits(model: Any, architecture: str) -> torch.Tensor:
    return model.eval()(**batch(architecture)).logits


def assert_same(one: torch.Tensor, other: torch.Tensor) -> None:
    assert (one - other).abs().max() <= 1e-6 * other.abs().max()


def saved(method: IA3, architecture: str, folder: Path) -> PreTrainedModel:
    model = install(freeze(make(architecture)), method)
    stir(own_tensors(model, "default").values())
    save_adapter(model, folder)
    return model


def by_peft(architecture: str, folder: Path, **settings: Any) -> PeftModel:
    model = get_peft_model(make(architecture), IA3Config(**settings))
    assert isinstance(model, PeftModel)
    stir(parameter for parameter in model.parameters() if parameter.requires_grad)
    model.save_pretrained(folder)
    return model


def assert_peft_reads(model: PreTrainedModel, architecture: str, folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # unknown settings, missing tensors
        theirs = PeftModel.from_pretrained(make(architecture), folder)
    assert_same(logits(theirs, architecture), logits(model, architecture))


@pytest.mark.parametrize("architecture", OURS)
def test_peft_reads_ours(architecture: str, tmp_path: Path):
    model = saved(OURS[architecture], architecture, tmp_path)
    assert_peft_reads(model, architecture, tmp_path)
    assert not torch.allclose(logits(model, architecture), logits(make(architecture), architecture), atol=1e-3)


def test_peft_reads_what_was_trained_on_an_int8_base(tmp_path: Path):
    model = saved(IA3(), "gpt2", tmp_path / "dense")
    trained_on = install(quantize_model(make("gpt2"), "int8"), IA3())
    stir(own_tensors(trained_on, "default").values())
    save_adapter(trained_on, tmp_path / "int8")
    assert_peft_reads(model, "gpt2", tmp_path / "int8")


@pytest.mark.parametrize("architecture", OURS)
def test_saved_and_loaded_by_us(architecture: str, tmp_path: Path):
    model = saved(OURS[architecture], architecture, tmp_path)
    again = load_adapter(make(architecture), tmp_path)
    assert installed(again)["default"] == (OURS[architecture],)
    assert_same(logits(again, architecture), logits(model, architecture))


@pytest.mark.parametrize("architecture", BY_DEFAULT)
def test_we_read_what_peft_adapts_by_default_and_give_it_back(architecture: str, tmp_path: Path):
    theirs = by_peft(architecture, tmp_path / "theirs")
    model = load_adapter(make(architecture), tmp_path / "theirs")
    assert_same(logits(model, architecture), logits(theirs, architecture))
    save_adapter(model, tmp_path / "ours")
    assert_peft_reads(model, architecture, tmp_path / "ours")
    written, read = (load_file(tmp_path / who / TENSORS) for who in ("theirs", "ours"))
    assert written.keys() == read.keys()
    assert all(equal_bytes(tensor, written[key]) for key, tensor in read.items())


THEIRS: dict[str, tuple[str, dict[str, Any]]] = {
    "regex": ("llama", {"target_modules": r".*layers\.1.*(k|down)_proj", "feedforward_modules": r".*down_proj"}),
    "no feedforward": ("llama", {"target_modules": "all-linear", "feedforward_modules": []}),
    "head": ("llama", {"target_modules": ["lm_head", "k_proj"], "feedforward_modules": []}),
    "part of a name": ("t5", {"target_modules": ["o", "wo"], "feedforward_modules": ["o"]}),
    "random start": ("gpt2", {"target_modules": ["c_attn"], "feedforward_modules": [], "init_ia3_weights": False}),
}


@pytest.mark.parametrize(("architecture", "settings"), THEIRS.values(), ids=THEIRS)
def test_we_read_what_peft_was_told_to_adapt(architecture: str, settings: dict[str, Any], tmp_path: Path):
    theirs = by_peft(architecture, tmp_path / "theirs", **settings)
    model = load_adapter(make(architecture), tmp_path / "theirs")
    assert_same(logits(model, architecture), logits(theirs, architecture))
    save_adapter(model, tmp_path / "ours")
    assert_peft_reads(model, architecture, tmp_path / "ours")


def test_the_file_is_short(tmp_path: Path):
    saved(IA3(), "llama", tmp_path)
    config = json.loads((tmp_path / CONFIG).read_text())
    assert config["target_modules"] == ["down_proj", "k_proj", "v_proj"]
    assert (config["peft_type"], config["feedforward_modules"]) == ("IA3", ["down_proj"])
    shapes = {tuple(tensor.shape) for tensor in load_file(tmp_path / TENSORS).values()}
    assert shapes == {(1, 48), (16, 1)}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"target_modules": ["k_proj", "norm"]}, "names model.norm, which is no linear layer"),
        ({"target_modules": ["kk_proj"]}, r"\('kk_proj',\) matches nothing"),
        ({"feedforward_modules": []}, r"down_proj.ia3_l has shape 1x48, this model needs 32x1"),
        ({"feedforward_modules": "*"}, "is no regular expression"),
        ({"of_tomorrow": 1}, "of_tomorrow"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], says: str, tmp_path: Path):
    by_peft("llama", tmp_path, target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"])
    config = json.loads((tmp_path / CONFIG).read_text())
    (tmp_path / CONFIG).write_text(json.dumps(config | change))
    model = make("llama")
    with pytest.raises(Refusal, match=says):
        load_adapter(model, tmp_path)
    assert installed(model) == {}


def test_factors_beyond_the_parts_they_were_made_for_are_refused(tmp_path: Path):
    from accorda.methods.storage.files import Files, read, write

    saved(IA3(), "gpt2", tmp_path)
    content = read(tmp_path)
    tensors, key = dict(content.tensors), "base_model.model.transformer.h.1.attn.c_attn.ia3_l"
    tensors[key] = tensors[key].index_fill(0, torch.tensor([3]), 0.5)  # a row of a query
    write(tmp_path, Files(content.config, content.metadata, tensors))
    with pytest.raises(Refusal, match="scales more than the rows of key, value it was made for"):
        load_adapter(make("gpt2"), tmp_path)


def test_without_our_header_a_fused_module_is_scaled_whole(tmp_path: Path):
    model = saved(IA3(), "gpt2", tmp_path)
    save_file(load_file(tmp_path / TENSORS), tmp_path / TENSORS)
    again = load_adapter(make("gpt2"), tmp_path)
    (method,) = installed(again)["default"]
    assert isinstance(method, IA3)
    assert any(target.endswith("c_attn") for target in method.target_modules)
    assert_same(logits(again, "gpt2"), logits(model, "gpt2"))
