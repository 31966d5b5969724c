"""rsLoRA against its formula written out."""

import pytest
import torch
from tests.methods.reparametrized.test_lora import filled
from tests.zoo import make
from transformers import GPT2Config, GPT2LMHeadModel

from accorda.errors import Refusal
from accorda.methods.install import freeze, install, own_tensors
from accorda.methods.merging import merge
from accorda.methods.reparametrized.rslora import RsLoRA

QUERY = "model.layers.1.self_attn.q_proj"


@pytest.mark.parametrize("rank", [1, 9])
def test_the_change_is_divided_by_the_root_of_the_rank(rank):
    model = filled(install(freeze(make("llama")), RsLoRA(rank=rank, alpha=6.0, target_modules="q_proj")))
    linear, own = model.get_submodule(QUERY), own_tensors(model, "default")
    A, B = (own[f"{QUERY}.0_all.lora_{factor}"] for factor in "AB")
    x, weight = torch.randn(4, 32), linear.weight.clone()
    expected = torch.stack([weight @ row + 6.0 / rank**0.5 * (B @ (A @ row)) for row in x])
    torch.testing.assert_close(linear(x), expected)
    merge(model)
    torch.testing.assert_close(linear.weight, weight + 6.0 / rank**0.5 * B @ A)


def test_the_size_of_the_change_does_not_depend_on_the_rank():
    """Theorem of the paper, at the first step: B is a step against the gradient, so B A has entries of order R."""
    sizes = []
    for rank in (4, 64):
        torch.manual_seed(0)
        model = install(freeze(make("llama")), RsLoRA(rank=rank, target_modules="q_proj", init="kaiming"))
        linear = model.get_submodule(QUERY)
        A = own_tensors(model, "default")[f"{QUERY}.0_all.lora_A"]
        x, gradient = torch.randn(50, 32), torch.randn(50, 32)
        B = gradient.T @ (x @ A.T) * linear.adapters["default"]["0_all"].scaling
        sizes.append((linear.adapters["default"]["0_all"].scaling * (x @ A.T) @ B.T).detach().std())
    assert 1 / 3 < sizes[1] / sizes[0] < 3  # with alpha / rank it would shrink sixteenfold


def test_count():
    with torch.device("meta"):
        model = GPT2LMHeadModel(GPT2Config(n_embd=1024, n_layer=24, n_head=16))
    method = RsLoRA(rank=4, target_modules=("attention.query", "attention.value"))
    assert method.num_parameters(model).trained == 393_216


def test_refuses_what_is_not_linear():
    with pytest.raises(Refusal, match=r"rslora acts on linear layers, and .*input_layernorm"):
        install(make("llama"), RsLoRA(target_modules="norm"))
