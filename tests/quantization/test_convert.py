import pytest
import torch
from tests.zoo import ARCHITECTURES, DECODERS, batch, make
from torch import nn

from accorda.errors import Refusal
from accorda.models.roles import find, is_linear, sites
from accorda.quantization import QuantizedLinear, formats, quantize_model


def test_formats_are_found_by_file():
    assert list(formats()) == ["int8", "nf4"]


@pytest.mark.parametrize("format_name", formats())
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_block_linears_change_and_nothing_else(name, format_name):
    model, dense = quantize_model(make(name), format_name), make(name)
    inside = {site.name for site in find(dense, "all-linear")}
    assert {n for n, m in model.named_modules() if isinstance(m, QuantizedLinear)} == inside
    outside = {n: p for n, p in dense.named_parameters() if n.rpartition(".")[0] not in inside}
    kept = dict(model.named_parameters())
    assert all(torch.equal(kept[n], p) for n, p in outside.items())
    assert [(s.name, s.role, s.in_features, s.out_features) for s in sites(model)] == [
        (s.name, s.role, s.in_features, s.out_features) for s in sites(dense)
    ]
    assert all(is_linear(site.module) for site in find(model, "all-linear"))
    got, expected = (m(**batch(name)).logits for m in (model, dense))
    off = (got - expected).square().mean().sqrt() / expected.std()
    assert 0 < off < {"int8": 0.05, "nf4": 0.5}[format_name]


@pytest.mark.parametrize("format_name", formats())
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_state_dict_round_trip(name, format_name, tmp_path):
    model, other = (quantize_model(make(name, seed=seed), format_name) for seed in (0, 1))
    torch.save(model.state_dict(), tmp_path / "state.pt")
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert torch.equal(other(**batch(name)).logits, model(**batch(name)).logits)


@pytest.mark.parametrize("format_name", formats())
@pytest.mark.parametrize("name", DECODERS)
def test_shapes_and_bytes_are_known_on_the_meta_device(name, format_name):
    model = quantize_model(make(name, meta=True), format_name)
    built = quantize_model(make(name), format_name)
    assert {n: p.shape for n, p in model.named_parameters()} == {n: p.shape for n, p in built.named_parameters()}
    for site in find(built, "all-linear"):
        held = sum(p.nbytes for n, p in site.module.named_parameters() if n != "bias")
        assert held == formats()[format_name].num_bytes(site.out_features, site.in_features)


def test_layers_with_adapters_are_not_thrown_away():
    model = make("llama")
    model.model.layers[0].self_attn.q_proj.adapters = nn.ModuleDict({"default": nn.Linear(3, 3)})
    with pytest.raises(ValueError, match=r"self_attn\.q_proj holds adapters: quantize before"):
        quantize_model(model, "int8")


def test_an_unknown_format_is_refused():
    with pytest.raises(Refusal, match=r"model\.quantization = int3: no such number format; did you mean int8\?"):
        quantize_model(make("llama"), "int3")
