"""KronA^B against its formula with the Kronecker product formed, its count, and what is refused."""

import pytest
import torch
from tests.zoo import make
from transformers import T5Config, T5ForConditionalGeneration

from accorda.errors import Refusal
from accorda.methods.additive.krona_b import KronAB
from accorda.methods.install import freeze, install, own_tensors
from accorda.methods.routing import use


@torch.no_grad()
@pytest.mark.parametrize("shape", [None, (16, 2), (1, 32), (4, 2)])
def test_beside_the_whole_feed_forward(shape):
    model = install(freeze(make("llama")), KronAB(block_shape=shape, scaling=3.0))
    own = own_tensors(model, "default")
    A, B = (own[f"model.layers.1.mlp.down_proj.0_all.beside.{factor}"] for factor in "AB")
    assert B.shape == (shape or (8, 4))
    B.normal_()
    whole = torch.zeros(32, 32)  # x W, so W is (in, out)
    for i in range(32):
        for o in range(32):
            whole[i, o] = A[i // B.shape[0], o // B.shape[1]] * B[i % B.shape[0], o % B.shape[1]]
    mlp, x = model.model.layers[1].mlp, torch.randn(2, 3, 32)
    adapted = mlp(x)
    with use(model):
        torch.testing.assert_close(adapted, mlp(x) + 3.0 * x @ whole)


@torch.no_grad()
def test_beside_one_module_that_is_not_square():
    model = install(freeze(make("gpt2")), KronAB(target_modules="mlp.up"))
    own = own_tensors(model, "default")
    A, B = (own[f"transformer.h.0.mlp.c_fc.0_all.beside.{factor}"] for factor in "AB")
    B.normal_()
    module, x = model.transformer.h[0].mlp.c_fc, torch.randn(2, 32)
    torch.testing.assert_close(module(x), x @ module.weight + module.bias + 16.0 * x @ torch.kron(A, B))


def test_count_on_t5_base():
    """24 by 32 and 32 by 24 for each feed-forward; with KronA's 72 matrices and 47,616 of norms the paper's 0.07%."""
    with torch.device("meta"):
        model = T5ForConditionalGeneration(T5Config(d_model=768, d_ff=3072, num_layers=12, num_heads=12))
    assert KronAB().num_parameters(model).trained == 24 * 2 * 24 * 32 == 36_864
    assert KronAB(block_shape=(384, 2)).num_parameters(model).trained == 36_864
    assert KronAB(layernorm=True).num_parameters(model).trained == 36_864 + 47_616


def test_start():
    own = own_tensors(install(freeze(make("llama")), KronAB()), "default")
    A, B = (own[f"model.layers.0.mlp.down_proj.0_all.beside.{factor}"] for factor in "AB")
    assert (A.shape, B.shape) == ((4, 8), (8, 4))  # of 4 and 8, the divisor nearest to the root of 32
    assert 0 < A.abs().max() <= 8**-0.5
    assert not B.any()


def test_refusals():
    with pytest.raises(
        Refusal,
        match=r"method\.block_shape = 8x5 does not divide .*model\.layers\.0\.mlp\.down_proj .* 32x32; choose divisors",
    ):
        install(make("llama"), KronAB(block_shape=(8, 5)))
    with pytest.raises(Refusal, match=r"krona_b acts on linear layers, and model\.embed_tokens"):
        install(make("llama"), KronAB(target_modules="embed_tokens"))
