"""Prefix-tuning and P-tuning in PEFT's files, both directions; what PEFT computes otherwise is not written for it."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PrefixTuningConfig, PromptEncoderConfig
from safetensors.torch import load_file
from tests.methods.storage.test_peft import assert_peft_reads, assert_same, by_peft, logits, pytestmark, saved
from tests.zoo import make

from accorda.errors import Refusal
from accorda.methods.additive.p_tuning import PTuning
from accorda.methods.additive.prefix_tuning import PrefixTuning
from accorda.methods.contract import Method
from accorda.methods.install import freeze, install, installed
from accorda.methods.storage import load_adapter, read_header, save_adapter
from accorda.methods.storage.files import CONFIG, TENSORS, equal_bytes

__all__ = ["pytestmark"]

DECODERS = ("llama", "gpt2", "qwen3", "phi3", "gemma")
PREFIX = {"task_type": "CAUSAL_LM", "num_virtual_tokens": 5}
THEIRS: dict[str, Any] = {
    "flat": PrefixTuningConfig(**PREFIX),
    "projected": PrefixTuningConfig(**PREFIX, prefix_projection=True, encoder_hidden_size=24),
    "mlp": PromptEncoderConfig(**PREFIX, encoder_hidden_size=24),
    "lstm": PromptEncoderConfig(**PREFIX, encoder_reparameterization_type="LSTM", encoder_hidden_size=24),
}


@pytest.mark.parametrize("architecture", DECODERS)
@pytest.mark.parametrize(
    "method",
    [
        PrefixTuning(num_virtual_tokens=4, hidden_size=24),
        PrefixTuning(num_virtual_tokens=4, reparametrized=False),
        PTuning(num_virtual_tokens=4),
        PTuning(num_virtual_tokens=4, encoder="mlp"),
    ],
    ids=repr,
)
def test_peft_reads_ours(method: Method, architecture: str, tmp_path: Path):
    model = saved(method, architecture, tmp_path)
    assert_peft_reads(model, architecture, tmp_path)
    assert not torch.allclose(logits(model, architecture), logits(make(architecture), architecture), atol=1e-3)
    assert len(load_file(tmp_path / TENSORS)) == 1
    again = load_adapter(make(architecture), tmp_path)
    assert installed(again)["default"] == (method.kept(),)
    assert torch.equal(logits(again, architecture), logits(model, architecture))


@pytest.mark.parametrize("architecture", DECODERS)
@pytest.mark.parametrize("config", THEIRS.values(), ids=THEIRS)
def test_we_read_theirs_and_give_it_back(config: Any, architecture: str, tmp_path: Path):
    theirs = by_peft(copy.deepcopy(config), architecture, tmp_path / "theirs")
    model = load_adapter(make(architecture), tmp_path / "theirs")
    assert_same(logits(model, architecture), logits(theirs, architecture))
    save_adapter(model, tmp_path / "ours")
    assert_peft_reads(model, architecture, tmp_path / "ours")
    (read,), (written,) = (load_file(tmp_path / who / TENSORS).values() for who in ("ours", "theirs"))
    assert equal_bytes(read, written)


@pytest.mark.parametrize(
    ("architecture", "method"),
    [
        ("mistral", PrefixTuning()),
        ("t5", PrefixTuning()),
        ("bert", PrefixTuning()),
        ("t5", PTuning()),
        ("llama", PTuning(placement="placeholder")),
    ],
    ids=str,
)
def test_what_peft_computes_otherwise_is_not_written_for_it(architecture: str, method: Method, tmp_path: Path):
    save_adapter(install(freeze(make(architecture)), method), tmp_path)
    assert read_header(tmp_path)["peft_type"] == "ACCORDA"


@pytest.mark.parametrize(
    ("architecture", "says"),
    [
        ("mistral", "windows of attention hide PEFT's"),
        ("bert", "PEFT gives BertForMaskedLM none, or others"),
        ("t5", "PEFT gives T5ForConditionalGeneration none, or others"),
        ("falcon_multi_query", "token_dim = 16, this model needs 8"),
        ("falcon_new", "PrefixTuning acts inside accorda's attention function"),
    ],
)
def test_prefixes_that_models_cannot_take_are_refused(architecture: str, says: str, tmp_path: Path):
    by_peft(copy.deepcopy(THEIRS["flat"]), "llama", tmp_path)
    model = make(architecture)
    with pytest.raises(Refusal, match=says):
        load_adapter(model, tmp_path)
    assert installed(model) == {}


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("flat", {"num_virtual_tokens": 4}, "shape 5x64, but num_virtual_tokens = 4"),
        ("flat", {"num_attention_heads": 4}, "num_attention_heads = 4, this model needs 2"),
        ("flat", {"num_layers": 3}, "num_layers = 3, this model needs 2"),
        ("flat", {"num_transformer_submodules": 2}, "num_transformer_submodules = 2"),
        ("flat", {"of_tomorrow": 1}, "of_tomorrow"),
        ("mlp", {"num_virtual_tokens": 4}, "shape 5x32, but num_virtual_tokens = 4"),
    ],
    ids=str,
)
def test_configs_that_do_not_fit_are_refused(name: str, change: dict[str, Any], says: str, tmp_path: Path):
    by_peft(copy.deepcopy(THEIRS[name]), "llama", tmp_path)
    config = json.loads((tmp_path / CONFIG).read_text())
    (tmp_path / CONFIG).write_text(json.dumps(config | change))
    with pytest.raises(Refusal, match=says):
        load_adapter(make("llama"), tmp_path)


def test_encoders_take_no_vectors_of_peft(tmp_path: Path):
    by_peft(copy.deepcopy(THEIRS["mlp"]), "llama", tmp_path)
    with pytest.raises(Refusal, match="take the place of the token"):
        load_adapter(make("bert"), tmp_path)
