"""(IA)3 against the paper's attention and feed-forward written out, its published counts, and what is refused."""

import math

import pytest
import torch
from tests.zoo import make
from transformers import T5Config, T5ForConditionalGeneration

from accorda.errors import Refusal
from accorda.methods.additive.ia3 import IA3
from accorda.methods.install import freeze, hosts, install, own_tensors
from accorda.methods.merging import merge


def filled(model):
    own = own_tensors(model, "default")
    with torch.no_grad():
        for tensor in own.values():
            tensor.normal_(1.0, 0.5)
    return own


@torch.no_grad()
def test_attention_is_the_formula():
    """softmax(q (l_k k)^T / sqrt(d)) (l_v v), head by head and query by query."""
    model = install(freeze(make("bert")), IA3())
    own, attention = filled(model), model.bert.encoder.layer[1].attention.self
    path = "bert.encoder.layer.1.attention.self"
    h = torch.randn(1, 4, 32)
    projected = {
        part: h[0] @ getattr(attention, part).weight.T + getattr(attention, part).bias
        for part in ("query", "key", "value")
    }
    keys, values = (projected[part] * own[f"{path}.{part}.0_all.ia3_l"] for part in ("key", "value"))
    expected = torch.empty(4, 32)
    for head in range(4):
        rows = slice(8 * head, 8 * (head + 1))
        for position in range(4):
            scores = keys[:, rows] @ projected["query"][position, rows] / math.sqrt(8)
            weights = scores.exp() / scores.exp().sum()
            expected[position, rows] = sum(weights[other] * values[other, rows] for other in range(4))
    torch.testing.assert_close(attention(h)[0][0], expected)


@torch.no_grad()
def test_feed_forward_is_the_formula_with_the_reference_codes_place():
    """In a gated feed-forward scaling the ungated branch is scaling what the last layer receives."""
    model = install(freeze(make("llama")), IA3())
    own, mlp, x = filled(model), model.model.layers[0].mlp, torch.randn(2, 3, 32)
    factors = own["model.layers.0.mlp.down_proj.0_all.ia3_l"]
    gate = torch.nn.functional.silu(x @ mlp.gate_proj.weight.T)
    expected = (gate * (factors * (x @ mlp.up_proj.weight.T))) @ mlp.down_proj.weight.T
    torch.testing.assert_close(mlp(x), expected)


@torch.no_grad()
def test_merging_scales_rows_entries_and_columns():
    model = make("gpt2")
    block = model.transformer.h[1]
    fused, bias, down = (t.clone() for t in (block.attn.c_attn.weight, block.attn.c_attn.bias, block.mlp.c_proj.weight))
    own = {name: tensor.clone() for name, tensor in filled(install(freeze(model), IA3())).items()}
    merge(model)
    keys, values, inner = (
        own[f"transformer.h.1.{place}.ia3_l"]
        for place in ("attn.c_attn.0_key", "attn.c_attn.0_value", "mlp.c_proj.0_all")
    )
    factors = torch.cat([torch.ones(32), keys, values])
    torch.testing.assert_close(block.attn.c_attn.weight.detach(), fused * factors)  # Conv1D: (in, out)
    torch.testing.assert_close(block.attn.c_attn.bias.detach(), bias * factors)
    torch.testing.assert_close(block.mlp.c_proj.weight.detach(), inner[:, None] * down)


@pytest.mark.parametrize(
    ("width", "inner", "heads", "count"), [(2048, 5120, 32, 540_672), (4096, 10_240, 64, 1_081_344)]
)
def test_published_counts(width, inner, heads, count):
    """T0-3B and T0-11B, which have the shape of T5 1.1: L_e (2 D + D_ff) + L_d (4 D + D_ff)."""
    config = T5Config(
        d_model=width, d_ff=inner, d_kv=64, num_heads=heads, num_layers=24, feed_forward_proj="gated-gelu"
    )
    with torch.device("meta"):
        model = T5ForConditionalGeneration(config)
    assert IA3().num_parameters(model).trained == 24 * (2 * width + inner) + 24 * (4 * width + inner) == count


def test_grouped_keys_have_fewer_factors():
    own = own_tensors(install(freeze(make("llama")), IA3()), "default")
    sizes = {name.removeprefix("model.layers.0."): tensor.numel() for name, tensor in own.items() if "layers.0" in name}
    parts = ("self_attn.k_proj", "self_attn.v_proj", "mlp.down_proj")
    assert sizes == {f"{part}.0_all.ia3_l": size for part, size in zip(parts, (16, 16, 48), strict=True)}


def test_what_a_peft_user_adapts_can_be_named():
    """The whole of a fused projection, and another choice of inputs."""
    model = make("gpt2")
    install(freeze(model), IA3(target_modules=("c_attn", "mlp.c_proj", "attn.c_proj"), feedforward_modules=("c_proj",)))
    sizes = {path: module.adapters.default["0_all"].ia3_l.numel() for path, module in hosts(model) if "h.0" in path}
    assert sizes == {
        f"transformer.h.0.{p}": n for p, n in {"attn.c_attn": 96, "attn.c_proj": 32, "mlp.c_proj": 128}.items()
    }
    install(make("llama"), IA3(target_modules="all-linear", feedforward_modules=()))


def test_refusals():
    with pytest.raises(Refusal, match=r"feedforward_modules: attention\.query shares its input .*c_attn"):
        install(make("gpt2"), IA3(target_modules="attention.query", feedforward_modules="attention.query"))
    for name, targets in (("mlp.up", IA3.target_modules), ("mlp.down", "attention.key"), ("c_fc", "mlp.down")):
        method = IA3(target_modules=targets, feedforward_modules=("mlp.down", name))
        with pytest.raises(Refusal, match=rf"method\.feedforward_modules: {name} is none of the targets"):
            install(make("gpt2"), method)
    install(make("gpt2"), IA3(target_modules="attention.key"))
    with pytest.raises(Refusal, match=r"method\.feedforward_modules: 'mlp\.dwon' matches nothing"):
        install(make("gpt2"), IA3(feedforward_modules="mlp.dwon"))
    with pytest.raises(Refusal, match=r"ia3 acts on linear layers, and .*ln_1"):
        install(make("gpt2"), IA3(target_modules="ln_1"))
