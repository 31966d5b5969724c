"""What is saved is what is loaded: every method, bit for bit, on the base it was trained on and on no other."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.methods.cases import prepared
from tests.zoo import batch, make
from torch import nn
from transformers import PreTrainedModel

from accorda.errors import Refusal
from accorda.methods.additive.prompt_tuning import PromptTuning
from accorda.methods.contract import Method
from accorda.methods.install import freeze, install, installed, kept_tensors, own_tensors, trainable
from accorda.methods.registry import methods
from accorda.methods.reparametrized.lora import LoRA
from accorda.methods.routing import use
from accorda.methods.selective.bitfit import BitFit
from accorda.methods.selective.layernorm import LayerNorm
from accorda.methods.storage import load_adapter, read_header, save_adapter
from accorda.methods.storage.files import CONFIG, TENSORS, equal_bytes, read, write
from accorda.quantization import formats, quantize_model

COMPOSED: dict[str, tuple[Method, ...]] = {
    "lora and bitfit": (LoRA(rank=2), BitFit(target_modules=("norm",))),
    "two loras": (LoRA(rank=2, target_modules=("attention.query",)), LoRA(rank=3, target_modules=("mlp",))),
    "two loras on one module": (LoRA(rank=2, target_modules="q_proj"), LoRA(rank=2, alpha=7, target_modules="q_proj")),
    "prompt and layernorm": (PromptTuning(num_virtual_tokens=2), LayerNorm()),
    "placeholders": (PromptTuning(num_virtual_tokens=2, placement="placeholder"),),
}


def stirred(model: PreTrainedModel, name: str = "default", seed: int = 1) -> PreTrainedModel:
    """The model with the adapter's tensors moved from where they started, as training would."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in own_tensors(model, name).values():
            if tensor.is_floating_point():
                tensor += 0.1 * torch.randn(tensor.shape, generator=generator)
    return model


@torch.no_grad()
def logits(model: nn.Module, architecture: str = "llama") -> torch.Tensor:
    return model(**batch(architecture)).logits


def base(architecture: str = "llama", quantization: str = "none", **overrides: Any) -> PreTrainedModel:
    model = make(architecture, **overrides)
    if quantization != "none":
        quantize_model(model, quantization)
    return freeze(model)


def assert_round_trip(method: Method | tuple[Method, ...], architecture: str, quantization: str, folder: Path) -> None:
    model = stirred(install(base(architecture, quantization), method, "tuned"), "tuned")
    save_adapter(model, folder, "tuned")
    again = load_adapter(base(architecture, quantization), folder, "other")
    mine, theirs = kept_tensors(model, "tuned"), own_tensors(again, "other")
    assert mine.keys() == theirs.keys()
    assert all(equal_bytes(theirs[key], tensor) for key, tensor in mine.items())
    assert installed(again)["other"] == tuple(one.kept() for one in installed(model)["tuned"])
    assert torch.equal(logits(again, architecture), logits(model, architecture))
    placeholders = isinstance(method, tuple) and any(getattr(one, "placement", "") == "placeholder" for one in method)
    assert placeholders == torch.equal(
        logits(model, architecture), logits(base(architecture, quantization), architecture)
    )


@pytest.mark.parametrize("architecture", ["llama", "gpt_neox"])
@pytest.mark.parametrize("name", list(methods()))
def test_every_method(name: str, architecture: str, tmp_path: Path):
    assert_round_trip(prepared(methods()[name](), architecture), architecture, "none", tmp_path / "adapter")


@pytest.mark.parametrize(
    "architecture", ["gpt2", "gpt_neox", "phi3", "falcon_new", "falcon_multi_query", "falcon_alibi"]
)
def test_parts_of_fused_projections(architecture: str, tmp_path: Path):
    method = LoRA(rank=2, target_modules=("attention.query", "attention.value", "mlp"))
    assert_round_trip(method, architecture, "none", tmp_path / "adapter")


@pytest.mark.parametrize("name", [name for name, method in methods().items() if method.traits.quantized_base])
@pytest.mark.parametrize("number", formats())
def test_every_method_on_a_quantised_base(name: str, number: str, tmp_path: Path):
    assert_round_trip(prepared(methods()[name](), "gpt2"), "gpt2", number, tmp_path / "adapter")


@pytest.mark.parametrize("method", COMPOSED.values(), ids=COMPOSED)
def test_methods_composed_to_one_adapter(method: tuple[Method, ...], tmp_path: Path):
    assert_round_trip(method, "llama", "none", tmp_path / "adapter")


def test_a_file_holds_nothing_but_the_adapter_in_fp32(tmp_path: Path):
    model = stirred(install(base().bfloat16(), LayerNorm()))
    save_adapter(model, tmp_path / "adapter")
    tensors = read(tmp_path / "adapter").tensors
    assert len(tensors) == len(own_tensors(model, "default")) == 5
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}
    again = load_adapter(base().bfloat16(), tmp_path / "adapter")
    assert torch.equal(logits(again), logits(model))


def test_the_same_adapter_gives_the_same_bytes_under_any_name_and_folder(tmp_path: Path):
    for folder, name in (("a", "default"), ("deep/b", "other")):
        save_adapter(stirred(install(base(), LoRA(rank=2), name), name), tmp_path / folder, name)
    for file in (CONFIG, TENSORS):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "deep/b" / file).read_bytes()


def test_loading_draws_no_random_number_and_keeps_other_adapters(tmp_path: Path):
    save_adapter(stirred(install(base(), LoRA(rank=2))), tmp_path / "adapter")
    model = stirred(install(base(), LoRA(rank=4), "first"), "first")
    before, state = {key: tensor.clone() for key, tensor in own_tensors(model, "first").items()}, torch.get_rng_state()
    load_adapter(model, tmp_path / "adapter", "second")
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(own_tensors(model, "first")[key], tensor) for key, tensor in before.items())


@pytest.mark.parametrize("method", [LoRA(rank=2), LayerNorm(), PromptTuning(num_virtual_tokens=2), BitFit()], ids=str)
def test_a_loaded_adapter_trains_only_if_asked(method: Method, tmp_path: Path):
    trained = stirred(install(base(), method))
    save_adapter(trained, tmp_path / "adapter")
    assert trainable(load_adapter(base(), tmp_path / "adapter")) == {}
    assert trainable(load_adapter(base(), tmp_path / "adapter", trainable=True)).keys() == trainable(trained).keys()


def test_what_is_saved_is_the_adapter_also_while_the_base_is_shown(tmp_path: Path):
    model = stirred(install(base(), LayerNorm()))
    with use(model, None):
        save_adapter(model, tmp_path / "adapter")
    assert torch.equal(logits(load_adapter(base(), tmp_path / "adapter")), logits(model))


def test_the_header_tells_the_method_without_a_model(tmp_path: Path):
    for number, method in enumerate((LoRA(rank=2), BitFit())):
        save_adapter(install(base(), method), tmp_path / str(number))
        header = read_header(tmp_path / str(number))
        assert [entry["name"] for entry in header["methods"]] == [("lora", "bitfit")[number]]
        assert header["version"] == 1
        assert header["peft_type"] == ("LORA", "ACCORDA")[number]


HARM = {
    "missing": (
        lambda t: {k: v for k, v in t.items() if not k.endswith("mlp.up_proj.0_all.delta")},
        "missing .*mlp.up_proj",
    ),
    "unexpected": (lambda t: t | {"model.extra": torch.ones(1)}, "unexpected model.extra$"),
    "shape": (
        lambda t: t | {"model.norm.0_all.delta": torch.ones(3)},
        "model.norm.0_all.delta has shape 3, this model needs 32",
    ),
    "kind": (lambda t: t | {"model.norm.0_all.delta": torch.ones(32, dtype=torch.int64)}, "holds torch.int64"),
    "another model's": (lambda t: {f"other.{k}": v for k, v in t.items()}, "missing .* and 16 more; unexpected other"),
}


@pytest.mark.parametrize(("harm", "says"), HARM.values(), ids=HARM)
def test_tensors_that_do_not_fit_are_named_and_leave_the_model_alone(harm, says: str, tmp_path: Path):
    save_adapter(stirred(install(base(), BitFit())), tmp_path / "adapter")
    content = read(tmp_path / "adapter")
    write(tmp_path / "adapter", replace(content, tensors=harm(content.tensors)))
    model = base()
    keys, before = list(model.state_dict()), logits(model)
    with pytest.raises(Refusal, match=says) as refusal:
        load_adapter(model, tmp_path / "adapter")
    assert "\n" not in str(refusal.value)
    assert installed(model) == {}
    assert list(model.state_dict()) == keys
    assert torch.equal(logits(model), before)


def test_names_already_or_not_installed_are_refused(tmp_path: Path):
    model = install(base(), BitFit())
    save_adapter(model, tmp_path / "adapter")
    with pytest.raises(Refusal, match="installed already"):
        load_adapter(model, tmp_path / "adapter")
    with pytest.raises(Refusal, match="no adapter 'other' is installed; installed: default"):
        save_adapter(model, tmp_path / "other", "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"version": 2}, "newer accorda"),
        ({"methods": [{"name": "bitfti"}]}, "no such method"),
        ({"methods": [{"name": "bitfit", "rank": 3}]}, "rank"),
    ],
)
def test_a_header_that_cannot_be_read_is_refused(change: dict[str, Any], says: str, tmp_path: Path):
    save_adapter(install(base(), BitFit()), tmp_path / "adapter")
    config = read(tmp_path / "adapter").config
    config["accorda"] |= change
    (tmp_path / "adapter" / CONFIG).write_text(json.dumps(config))
    with pytest.raises(Refusal, match=says):
        load_adapter(base(), tmp_path / "adapter")


def test_a_crash_while_saving_leaves_the_old_adapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    model = install(base(), LoRA(rank=2))
    save_adapter(model, tmp_path / "adapter")
    before = {path.name: path.read_bytes() for path in (tmp_path / "adapter").iterdir()}

    def no_rename(source, target):
        raise OSError("interrupted")

    monkeypatch.setattr(os, "rename", no_rename)
    with pytest.raises(OSError, match="interrupted"):
        save_adapter(stirred(model), tmp_path / "adapter")
    assert {path.name: path.read_bytes() for path in (tmp_path / "adapter").iterdir()} == before


def test_what_else_belongs_beside_the_adapter_is_written_with_it(tmp_path: Path):
    save_adapter(
        install(base(), LoRA(rank=2)), tmp_path / "a", beside=lambda new: (new / "renderer.json").write_text("{}")
    )
    assert (tmp_path / "a" / "renderer.json").read_text() == "{}"


@pytest.mark.parametrize(("architecture", "overrides"), [("qwen2", {}), ("llama", {"num_hidden_layers": 1})])
@pytest.mark.parametrize("method", [BitFit(target_modules=("mlp",)), LoRA(rank=2)], ids=["own format", "peft's"])
def test_another_base_is_refused_also_where_only_type_and_size_are_known(
    architecture: str, overrides: dict[str, Any], method: Method, tmp_path: Path
):
    other = base(architecture, **overrides)
    save_adapter(install(base(), method), tmp_path / "adapter")
    with pytest.raises(Refusal, match=r"another base, one without a name \(llama, .*\); this model is"):
        load_adapter(other, tmp_path / "adapter")
    assert installed(other) == {}


def test_the_size_of_a_base_does_not_depend_on_what_hangs_on_it(tmp_path: Path):
    model = install(install(base(), LayerNorm(), "norms"), LoRA(rank=2), "lora")
    save_adapter(model, tmp_path / "adapter", "lora")
    load_adapter(base(), tmp_path / "adapter")
    load_adapter(base("llama", "int8"), tmp_path / "adapter")


@pytest.mark.parametrize(
    ("trained", "here", "told"), [("int8", "none", 1), ("none", "nf4", 1), ("nf4", "int8", 1), ("nf4", "nf4", 0)]
)
def test_another_number_format_than_in_training_is_told(
    trained: str, here: str, told: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    save_adapter(install(base("llama", trained), LoRA(rank=2)), tmp_path / "adapter")
    assert read_header(tmp_path / "adapter")["quantization"] == trained
    load_adapter(base("llama", here), tmp_path / "adapter")
    assert caplog.text.count(f"in quantization {trained}, loaded on quantization {here}") == told
