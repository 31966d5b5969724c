"""Pfeiffer's adapters against their two formulas written out, published counts, and what is refused."""

import pytest
import torch
from tests.zoo import make
from torch.nn import functional
from transformers import BertConfig, BertForMaskedLM, RobertaConfig, RobertaForMaskedLM

from accorda.errors import Refusal
from accorda.methods.additive.pfeiffer import Pfeiffer
from accorda.methods.install import freeze, hosts, install, own_tensors


def filled(model):
    own = own_tensors(model, "default")
    for tensor in own.values():
        tensor.normal_(std=0.5)
    return own


def bottleneck(u, own, path):
    """One vector (D,) through the adapter, entry by entry, without the residual."""
    down, up = (own[f"{path}.0_all.bottleneck.{part}.weight"] for part in ("down", "up"))
    down_bias, up_bias = (own[f"{path}.0_all.bottleneck.{part}.bias"] for part in ("down", "up"))
    inner = [max(0.0, float(down_bias[m] + sum(down[m, i] * u[i] for i in range(len(u))))) for m in range(len(down))]
    return torch.stack([up_bias[o] + sum(up[o, m] * inner[m] for m in range(len(down))) for o in range(len(up))])


@torch.no_grad()
def test_in_post_ln_models_it_reads_the_norm_and_adds_before_it():
    model = install(freeze(make("bert")), Pfeiffer(reduction_factor=8))
    own, path = filled(model), "bert.encoder.layer.1.output.LayerNorm"
    output = model.bert.encoder.layer[1].output
    h, x = torch.randn(1, 2, 48), torch.randn(1, 2, 32)

    def norm(z):
        return functional.layer_norm(z, (32,), output.LayerNorm.weight, output.LayerNorm.bias, output.LayerNorm.eps)

    z = functional.linear(h, output.dense.weight, output.dense.bias) + x
    added = torch.stack([bottleneck(norm(z)[0, token], own, path) for token in range(2)])
    torch.testing.assert_close(output(h, x), norm(z + added[None]))


@torch.no_grad()
def test_in_pre_ln_models_it_adds_to_the_feed_forward():
    model = install(freeze(make("llama")), Pfeiffer(reduction_factor=8))
    own, path = filled(model), "model.layers.1.mlp.down_proj"
    module = model.get_submodule(path)
    x = torch.randn(1, 2, 48)
    y = x @ module.weight.T
    added = torch.stack([bottleneck(y[0, token], own, path) for token in range(2)])
    torch.testing.assert_close(module(x), y + added[None])


@pytest.mark.parametrize(
    ("architecture", "targets", "ending"),
    [
        ("bert", "mlp.down", "output.LayerNorm"),
        ("bart", "attention.output", "self_attn_layer_norm"),
        ("bert", "attention.query", "self.query"),
        ("bert", "intermediate.dense", "intermediate.dense"),
        ("t5", "mlp.down", "DenseReluDense.wo"),
    ],
)
def test_where_it_stands(architecture, targets, ending):
    model = install(freeze(make(architecture)), Pfeiffer(target_modules=targets))
    assert {path.endswith(ending) for path, _ in hosts(model)} == {True}


def test_published_counts():
    """L (2 D M + D + M): BERT-base with 48, RoBERTa-large with 16 (AdaMix, arXiv:2205.12410, table 1: 0.9M, 0.8M)."""
    with torch.device("meta"):
        base = BertForMaskedLM(BertConfig())
        large = RobertaForMaskedLM(
            RobertaConfig(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096)
        )
    assert Pfeiffer().num_parameters(base).trained == 12 * (2 * 768 * 48 + 768 + 48) == 894_528
    assert Pfeiffer(reduction_factor=64).num_parameters(large).trained == 811_392


def test_start_and_refusal():
    torch.manual_seed(0)
    own = own_tensors(install(freeze(make("gpt2")), Pfeiffer(reduction_factor=1)), "default")
    for name, tensor in own.items():
        assert tensor.std().item() == pytest.approx(0.02 if name.endswith("weight") else 0.0, rel=0.1)
    with pytest.raises(Refusal, match=r"pfeiffer acts on linear layers, and .*output.LayerNorm"):
        install(make("bert"), Pfeiffer(target_modules="output.LayerNorm"))
