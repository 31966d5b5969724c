"""Houlsby's adapters against their formula written out, the count of the formula, and what is refused."""

import math

import pytest
import torch
from tests.zoo import batch, make
from transformers import BertConfig, BertForSequenceClassification

from accorda.errors import Refusal
from accorda.methods.additive.houlsby import Houlsby
from accorda.methods.install import freeze, install, own_tensors


def adapted(h, own, path):
    """One hidden state (D,), entry by entry."""
    down, up = (own[f"{path}.0_all.bottleneck.{part}.weight"] for part in ("down", "up"))
    down_bias, up_bias = (own[f"{path}.0_all.bottleneck.{part}.bias"] for part in ("down", "up"))
    inner = [float(down_bias[m] + sum(down[m, i] * h[i] for i in range(len(h)))) for m in range(len(down))]
    inner = [u * 0.5 * (1 + math.erf(u / math.sqrt(2))) for u in inner]
    return [float(h[o] + up_bias[o] + sum(up[o, m] * inner[m] for m in range(len(down)))) for o in range(len(h))]


@torch.no_grad()
@pytest.mark.parametrize("leaf", ["attn.c_proj", "mlp.c_proj"])
def test_output_is_the_formula(leaf):
    model = install(freeze(make("gpt2")), Houlsby(bottleneck_size=3))
    own, path = own_tensors(model, "default"), f"transformer.h.1.{leaf}"
    for tensor in own.values():
        tensor.normal_(std=0.5)
    module = model.get_submodule(path)
    x = torch.randn(1, 2, module.nx)
    h = x @ module.weight + module.bias
    expected = torch.tensor([[adapted(h[0, token].tolist(), own, path) for token in range(2)]])
    torch.testing.assert_close(module(x), expected)


def test_after_every_sub_layer_and_on_every_norm():
    own = own_tensors(install(freeze(make("t5")), Houlsby()), "default")
    adapters = {name.partition(".0_all")[0] for name in own if name.endswith("bottleneck.up.weight")}
    norms = {name.partition(".0_all")[0] for name in own if name.endswith("gain")}
    assert (len(adapters), len(norms)) == (2 * 2 + 2 * 3, 2 * 2 + 2 * 3 + 2)
    assert sum("EncDecAttention.o" in path for path in adapters) == 2


def test_start():
    torch.manual_seed(0)
    own = own_tensors(install(freeze(make("llama")), Houlsby()), "default")
    weights = torch.cat([tensor.flatten() for name, tensor in own.items() if name.endswith("weight")])
    assert weights.abs().max() <= 2e-3
    assert weights.std().item() == pytest.approx(0.88e-3, rel=0.02)  # of a normal cut off at two deviations
    assert not any(tensor.any() for name, tensor in own.items() if not name.endswith("weight"))


def test_zero_up_starts_exactly_as_the_base():
    inputs, base = batch("llama"), make("llama")
    before = base(**inputs).logits
    assert torch.equal(install(freeze(base), Houlsby(init="zero_up"))(**inputs).logits, before)


def test_count_on_bert_large():
    """2 (2 D M + D + M) per block; norms of the embedding and two per block, gain and offset. 6.44 million, 1.9%."""
    with torch.device("meta"):
        model = BertForSequenceClassification(
            BertConfig(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096)
        )
    adapters, norms = 24 * 2 * (2 * 1024 * 64 + 1024 + 64), 2 * 1024 * (2 * 24 + 1)
    assert Houlsby(layernorm=False).num_parameters(model).trained == adapters == 6_343_680
    assert Houlsby().num_parameters(model).trained == adapters + norms == 6_444_032


def test_refusals():
    with pytest.raises(Refusal, match=r"houlsby acts on linear layers, and .*input_layernorm"):
        install(make("llama"), Houlsby(target_modules="input_layernorm"))
    with pytest.raises(Refusal, match=r"'cross_attention\.output' matches nothing"):
        install(make("llama"), Houlsby(target_modules=("attention.output", "cross_attention.output")))
