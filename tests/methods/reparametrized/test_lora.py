"""LoRA against its formula written out, and the paper's count."""

import pytest
import torch
from tests.zoo import batch, make
from transformers import GPT2Config, GPT2LMHeadModel

from accorda.errors import Refusal
from accorda.methods.install import freeze, install, own_tensors
from accorda.methods.merging import merge
from accorda.methods.reparametrized.lora import LoRA


def filled(model, scale=0.1):
    """Give every tensor of the adapter random values."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in own_tensors(model, "default").values():
            tensor.copy_(scale * torch.randn(tensor.shape, generator=generator))
    return model


def test_output_is_the_formula():
    model = filled(install(freeze(make("llama")), LoRA(rank=4, alpha=6.0, target_modules="q_proj")))
    linear = model.model.layers[1].self_attn.q_proj
    own = own_tensors(model, "default")
    A, B = (own[f"model.layers.1.self_attn.q_proj.0_all.lora_{factor}"] for factor in "AB")
    x = torch.randn(2, 5, 32)
    expected = torch.empty(2, 5, 32)
    for row in range(2):
        for token in range(5):
            expected[row, token] = linear.weight @ x[row, token] + 6.0 / 4 * (B @ (A @ x[row, token]))
    torch.testing.assert_close(linear(x), expected)


def test_only_the_named_part_of_a_fused_projection_changes():
    model = make("gpt2")
    projection = model.transformer.h[0].attn.c_attn
    x = torch.randn(1, 3, 32)
    before = projection(x)
    filled(install(freeze(model), LoRA(rank=2, target_modules=("attention.value",))))
    after = projection(x)
    own = own_tensors(model, "default")
    A, B = (own[f"transformer.h.0.attn.c_attn.0_value.lora_{factor}"] for factor in "AB")
    assert torch.equal(after[..., :64], before[..., :64])
    torch.testing.assert_close(after[..., 64:], before[..., 64:] + 32 / 2 * (x @ A.T @ B.T))


def test_dropout_acts_on_the_low_rank_path_only():
    model = filled(install(freeze(make("llama")), LoRA(rank=4, dropout=0.5, target_modules="q_proj")))
    linear = model.model.layers[0].self_attn.q_proj
    x = torch.randn(1, 200, 32)
    base = x @ linear.weight.T
    evaluated = linear(x) - base
    model.train()
    dropped = linear(x) - base
    assert not torch.allclose(dropped, evaluated)
    with torch.no_grad():
        own_tensors(model, "default")["model.layers.0.self_attn.q_proj.0_all.lora_B"].zero_()
    torch.testing.assert_close(linear(x), base)


def test_start_is_random_times_zero():
    torch.manual_seed(0)
    for init, deviation in {"kaiming": 32**-0.5 / 3**0.5, "gaussian": 1 / 64}.items():
        model = install(freeze(make("llama")), LoRA(rank=64, init=init, target_modules="q_proj"))
        own = own_tensors(model, "default")
        A, B = (own[f"model.layers.0.self_attn.q_proj.0_all.lora_{factor}"] for factor in "AB")
        assert A.std().item() == pytest.approx(deviation, rel=0.1)
        assert not B.any()


def test_merge_adds_the_scaled_product():
    model = filled(install(freeze(make("gpt2")), LoRA(rank=2, alpha=3.0, target_modules=("attention.key",))))
    own = {name: tensor.clone() for name, tensor in own_tensors(model, "default").items()}
    weight = model.transformer.h[1].attn.c_attn.weight.clone()  # (in, out)
    merge(model)
    A, B = (own[f"transformer.h.1.attn.c_attn.0_key.lora_{factor}"] for factor in "AB")
    expected = weight.clone()
    expected[:, 32:64] += 3.0 / 2 * (B @ A).T
    torch.testing.assert_close(model.transformer.h[1].attn.c_attn.weight.detach(), expected)


def test_count_of_the_paper():
    """GPT-2 medium, query and value, rank 4: "0.35M" in table 3; 24 layers of 2 pairs of (1024 + 1024) * 4."""
    with torch.device("meta"):
        model = GPT2LMHeadModel(GPT2Config(n_embd=1024, n_layer=24, n_head=16))
    method = LoRA(rank=4, target_modules=("attention.query", "attention.value"))
    assert method.num_parameters(model).trained == 393_216


@pytest.mark.parametrize(("target", "named"), [("norm", "input_layernorm"), ("embed_tokens", "embed_tokens")])
def test_refuses_what_is_not_linear(target, named):
    with pytest.raises(Refusal, match=named):
        install(make("llama"), LoRA(target_modules=target))


def test_a_refusal_leaves_the_model_as_it_was():
    model, inputs = make("llama"), batch("llama")
    before = model(**inputs).logits
    with pytest.raises(Refusal):
        install(model, (LoRA(), LoRA(target_modules="norm")))
    assert set(model.state_dict()) == set(make("llama").state_dict())
    assert torch.equal(model(**inputs).logits, before)
