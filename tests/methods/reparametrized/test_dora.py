"""DoRA against its formula written out, autograd with a constant norm, and PEFT."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tests.methods.reparametrized.test_lora import filled
from tests.zoo import batch, make
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from accorda.errors import Refusal
from accorda.methods.install import freeze, install, own_tensors
from accorda.methods.reparametrized.dora import DoRA, row_norms

FUSED = "transformer.h.1.attn.c_attn"


def stirred(method, architecture="llama"):
    """Magnitudes are about 0.8: what fills the factors alone would leave them meaningless."""
    model = install(freeze(make(architecture)), method)
    norms = {name: t.clone() for name, t in own_tensors(model, "default").items() if name.endswith("magnitude")}
    filled(model)
    for name, start in norms.items():
        own_tensors(model, "default")[name].data += start
    return model


def test_output_and_gradients_are_those_of_the_formula_with_a_constant_norm():
    """On the value part of a fused projection with a bias; equation 5 with equation 11's constant."""
    model = stirred(DoRA(rank=3, alpha=4.0, target_modules=("attention.value",)), "gpt2")
    projection, own = model.get_submodule(FUSED), own_tensors(model, "default")
    A, B, magnitude = (own[f"{FUSED}.0_value.{leaf}"] for leaf in ("lora_A", "lora_B", "magnitude"))
    x, direction = torch.randn(5, 32), torch.randn(5, 32)
    found = projection(x)[:, 64:]
    changed = projection.weight.T[64:] + 4.0 / 3 * B @ A
    norms = torch.stack([row.norm() for row in changed]).detach()
    expected = torch.stack([projection.bias[64:] + magnitude / norms * (changed @ row) for row in x])
    torch.testing.assert_close(found, expected)
    for wanted, given in zip(
        *(torch.autograd.grad((y * direction).sum(), (A, B, magnitude)) for y in (expected, found)), strict=True
    ):
        torch.testing.assert_close(given, wanted)


def test_norms_without_the_sum_are_those_of_the_sum():
    weight, A, B = torch.randn(40, 30), torch.randn(4, 30), torch.randn(40, 4)
    torch.testing.assert_close(row_norms(weight, A, B, 0.7), (weight + 0.7 * B @ A).norm(dim=1))
    B[3] = -weight[3] @ torch.linalg.pinv(0.7 * A)
    assert row_norms(A[:1], A[:1], -torch.ones(1, 1), 1.0).isfinite().all()  # a row that vanishes


def test_dropout_acts_on_the_low_rank_path_only():
    model = stirred(DoRA(rank=4, dropout=0.5, target_modules="q_proj"))
    linear, own = model.model.layers[0].self_attn.q_proj, own_tensors(model, "default")
    x = torch.randn(1, 200, 32)
    model.train()
    assert not torch.allclose(linear(x), linear(x))
    with torch.no_grad():
        own["model.layers.0.self_attn.q_proj.0_all.lora_B"].zero_()
    magnitude = own["model.layers.0.self_attn.q_proj.0_all.magnitude"]
    torch.testing.assert_close(linear(x), magnitude / linear.weight.norm(dim=1) * (x @ linear.weight.T))


def test_says_what_peft_says():
    model = stirred(DoRA(rank=3, alpha=5.0, target_modules=("q_proj", "up_proj")))
    theirs = get_peft_model(
        make("llama"), LoraConfig(r=3, lora_alpha=5, target_modules=["q_proj", "up_proj"], use_dora=True)
    )
    modules = dict(theirs.base_model.model.named_modules())
    with torch.no_grad():
        for name, tensor in own_tensors(model, "default").items():
            path, _, leaf = name.split(".0_all.")[0], None, name.rpartition(".")[2]
            key = "lora_magnitude_vector" if leaf == "magnitude" else leaf
            getattr(modules[path], key)["default"].weight.copy_(tensor)
        torch.testing.assert_close(model(**batch("llama")).logits, theirs.eval()(**batch("llama")).logits)


def test_count_is_the_factors_and_one_number_per_output():
    """A Llama-7B's query, key, value, up and down at rank 16, as in the paper: r (in + out) + out each."""
    with torch.device("meta"):
        model = LlamaForCausalLM(LlamaConfig())
    method = DoRA(rank=16, target_modules=("q_proj", "k_proj", "v_proj", "up_proj", "down_proj"))
    d, f = 4096, 11008
    one = 3 * (16 * 2 * d + d) + (16 * (d + f) + f) + (16 * (d + f) + d)
    assert method.num_parameters(model).trained == 32 * one
    assert sum(isinstance(module, nn.Linear) for module in model.modules()) == 32 * 7 + 1


def test_refuses_what_is_not_linear():
    with pytest.raises(Refusal, match=r"dora acts on linear layers, and model.embed_tokens"):
        install(make("llama"), DoRA(target_modules="embed_tokens"))
