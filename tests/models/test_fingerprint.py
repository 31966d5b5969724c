import pytest
import torch
from tests.zoo import ARCHITECTURES, make, tiny_model_folder
from torch import nn
from transformers import BertForMaskedLM

from accorda.models.fingerprint import fingerprint
from accorda.models.folder import weight_files
from accorda.models.load import load_model
from accorda.quantization import quantize_model


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_files_and_state_agree(name, tmp_path):
    model = make(name)
    model.save_pretrained(tmp_path)
    of_files = fingerprint(make(name, seed=1), weight_files(tmp_path))
    assert of_files == fingerprint(model)
    assert of_files != fingerprint(make(name, seed=1))
    assert of_files["model_type"] == model.config.model_type
    assert of_files["num_parameters"] == sum(p.numel() for p in model.base_model.parameters())


def test_files_count_whatever_the_model_became(tmp_path):
    model = make("llama")
    model.save_pretrained(tmp_path)
    expected = fingerprint(model)
    files = weight_files(tmp_path)
    assert fingerprint(make("llama").bfloat16(), files) == expected
    assert fingerprint(make("llama", meta=True), files) == expected


def test_adapters_do_not_count():
    model = make("llama")
    expected = fingerprint(model)
    model.model.layers[0].self_attn.q_proj.adapters = nn.ModuleDict({"default": nn.Linear(2, 2)})
    model.model.adapters_shared = nn.Linear(2, 2)
    assert fingerprint(model) == expected


@pytest.mark.parametrize("place", ["first", "last"])
def test_a_changed_tensor_shows(place):
    model = make("gpt2")
    expected = fingerprint(model)
    flat = model.transformer.h[1].mlp.c_fc.weight.data.view(-1)
    flat[0 if place == "first" else -1] += 1e-3
    assert fingerprint(model) != expected


def test_a_model_without_dense_values_has_none_of_its_own():
    for model in (make("llama", meta=True), quantize_model(make("llama"), "int8")):
        with pytest.raises(ValueError, match="take that of its files"):
            fingerprint(model)


def test_the_same_values_in_half_precision_are_the_same_base(tmp_path):
    model = make("llama").bfloat16()
    model.save_pretrained(tmp_path)
    assert fingerprint(model.float(), weight_files(tmp_path)) == fingerprint(model)
    assert torch.equal(model.model.norm.weight, model.model.norm.weight.bfloat16().float())


def test_a_pooler_that_is_drawn_does_not_count(tmp_path):
    folder = tiny_model_folder(tmp_path, "bert")
    models = [load_model(folder, head="classification", device="cpu", seed=seed) for seed in (0, 1)]
    assert not torch.equal(*(model.bert.pooler.dense.weight for model in models))
    checkpoint = BertForMaskedLM.from_pretrained(folder)
    assert models[0].accorda_fingerprint == models[1].accorda_fingerprint == fingerprint(checkpoint)
