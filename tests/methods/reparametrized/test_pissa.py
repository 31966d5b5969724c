"""PiSSA against its formula written out, and PEFT."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tests.zoo import batch, make
from torch.nn import functional
from transformers import GPT2Config, GPT2LMHeadModel

from accorda.errors import Refusal
from accorda.methods.install import freeze, install, own_tensors, trainable
from accorda.methods.merging import merge
from accorda.methods.reparametrized.pissa import PiSSA, principal

QUERY = "model.layers.1.self_attn.q_proj"


@pytest.mark.parametrize(("iterations", "error"), [(None, 1e-5), (16, 1e-2)])
def test_starts_at_the_principal_part(iterations, error):
    """The best approximation of its rank, split evenly between the factors."""
    torch.manual_seed(0)
    weight = torch.randn(40, 24)  # singular values close to each other: the fast decomposition's hardest case
    A, B = principal(weight, 5, 0.5, iterations)
    U, S, Vh = torch.linalg.svd(weight)
    assert (0.5 * B @ A - U[:, :5] @ torch.diag(S[:5]) @ Vh[:5]).norm() < error * S[:5].norm()
    torch.testing.assert_close(A @ A.T, B.T @ B, atol=1e-3, rtol=1e-3)


def test_output_is_the_residual_and_the_trained_product():
    model = install(freeze(make("llama")), PiSSA(rank=4, alpha=6.0, target_modules="q_proj"))
    linear, own = model.get_submodule(QUERY), own_tensors(model, "default")
    A, B = (own[f"{QUERY}.0_all.lora_{factor}"] for factor in "AB")
    x, residual = torch.randn(3, 32), linear.weight - 6.0 / 4 * (B @ A).detach()
    with torch.no_grad():
        A += 0.1 * torch.randn_like(A)
        B += 0.1 * torch.randn_like(B)
    expected = torch.stack([residual @ row + 6.0 / 4 * (B @ (A @ row)) for row in x])
    torch.testing.assert_close(linear(x), expected)
    merge(model)
    torch.testing.assert_close(linear.weight, residual + 6.0 / 4 * B @ A)


def test_trains_as_peft_does_though_the_base_stays():
    """Three SGD steps; PEFT writes the residual into the base."""
    settings = {"target_modules": ["q_proj", "down_proj"], "r": 4, "lora_alpha": 4}
    theirs = get_peft_model(make("llama"), LoraConfig(**settings, init_lora_weights="pissa"))
    ours = install(
        freeze(make("llama")), PiSSA(rank=4, alpha=4.0, target_modules=("q_proj", "down_proj"), iterations=None)
    )
    for model, parameters in ((theirs, theirs.parameters()), (ours, trainable(ours).values())):
        optimizer = torch.optim.SGD([p for p in parameters if p.requires_grad], lr=0.2)
        for _ in range(3):
            logits = model(**batch("llama")).logits
            functional.cross_entropy(
                logits[:, :-1].flatten(0, 1), batch("llama")["input_ids"][:, 1:].flatten()
            ).backward()
            optimizer.step()
            optimizer.zero_grad()
    one, other = (model(**batch("llama")).logits for model in (theirs, ours))
    assert (one - make("llama")(**batch("llama")).logits).abs().max() > 0.1
    torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-4)


def test_count_is_loras():
    with torch.device("meta"):
        model = GPT2LMHeadModel(GPT2Config(n_embd=1024, n_layer=24, n_head=16))
    count = PiSSA(rank=4, target_modules=("attention.query", "attention.value")).num_parameters(model)
    assert count.trained == 393_216


def test_refusals():
    with pytest.raises(
        Refusal, match=r"method\.rank = 17: model.layers.0.self_attn.k_proj \(attention.key\) has 16 singular"
    ):
        install(make("llama"), PiSSA(rank=17))
    with pytest.raises(Refusal, match=r"pissa acts on linear layers, and .*input_layernorm"):
        install(make("llama"), PiSSA(target_modules="norm"))
