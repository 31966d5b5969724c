"""Compacter against its formula with every Kronecker product formed, the paper's count, and what is refused."""

import math

import pytest
import torch
from tests.zoo import make
from transformers import T5Config, T5ForConditionalGeneration

from accorda.errors import Refusal
from accorda.methods.additive.compacter import Compacter
from accorda.methods.additive.compacter_plus import CompacterPlus
from accorda.methods.install import freeze, hosts, install, own_tensors, trainable


def t5_base():
    with torch.device("meta"):
        return T5ForConditionalGeneration(T5Config(d_model=768, d_ff=3072, num_layers=12, num_heads=12))


def matrix(A, s, t):
    """The sum of A_i ⊗ (s_i t_i), entry by entry of the blocks."""
    n, (rows, columns) = len(A), (s.shape[1], t.shape[2])
    W = torch.zeros(n * rows, n * columns)
    for i in range(n):
        B = s[i] @ t[i]
        for a in range(n):
            for b in range(n):
                W[a * rows : (a + 1) * rows, b * columns : (b + 1) * columns] += A[i, a, b] * B
    return W


@torch.no_grad()
@pytest.mark.parametrize("rank", [1, 3])
@pytest.mark.parametrize("path", ["transformer.h.0.attn.c_proj", "transformer.h.1.mlp.c_proj"])
def test_output_is_the_formula(path, rank):
    model = install(freeze(make("gpt2")), Compacter(n=2, rank=rank, reduction_factor=8))
    own = own_tensors(model, "default")
    for tensor in own.values():
        tensor.normal_(std=0.5)
    own = {name.removeprefix(f"{path}.0_all."): tensor for name, tensor in own.items()}
    module, A = model.get_submodule(path), own["0_shared.A"]
    x = torch.randn(2, 3, module.nx)
    h = x @ module.weight + module.bias
    inner = h @ matrix(A, own["down.s"], own["down.t"]) + own["down.bias"]
    inner = 0.5 * inner * (1 + torch.tanh(math.sqrt(2 / math.pi) * (inner + 0.044715 * inner**3)))
    expected = h + inner @ matrix(A, own["up.s"], own["up.t"]) + own["up.bias"]
    torch.testing.assert_close(module(x), expected)


def test_count_of_the_paper():
    """T5-base, table 1: 48 adapters of 2 (768 + 24) + 768 + 24, a rule of 4^3, 47,616 of norms; 0.073% with them."""
    assert Compacter(layernorm=False).num_parameters(t5_base()).trained == 48 * 2_376 + 64 == 114_112
    whole = Compacter().num_parameters(t5_base())
    assert whole.trained == whole.kept == 114_112 + 47_616
    assert round(100 * whole.trained / 222_903_552, 3) == 0.073


def test_stands_after_attention_and_feed_forward_and_not_after_cross_attention():
    paths = {path for path, _ in hosts(install(freeze(make("t5")), Compacter(layernorm=False)))}
    assert {path.rpartition(".")[0].rpartition(".")[2] for path in paths} == {"SelfAttention", "DenseReluDense"}
    assert len(paths) == 2 * (2 + 2)


def test_one_rule_for_all_and_it_trains():
    model = install(freeze(make("bart")), Compacter(layernorm=False))
    assert [name for name in trainable(model) if name.endswith(".A")] == ["adapters.default.0_shared.A"]
    rule = model.get_submodule("adapters.default.0_shared")
    adapters = [module for _, module in model.named_modules() if type(module).__name__ == "HypercomplexAdapter"]
    assert len(adapters) == 2 * (2 + 2)
    assert all(adapter.rule is rule for adapter in adapters)


def test_start():
    torch.manual_seed(0)
    own = own_tensors(install(freeze(make("llama")), Compacter(n=8, layernorm=False)), "default")
    assert own["0_shared.A"].std().item() == pytest.approx(1e-4, rel=0.1)
    s = torch.cat([tensor for name, tensor in own.items() if name.endswith("down.s")])  # (32 / 8) x 1 each
    assert s.abs().max() <= math.sqrt(2) * math.sqrt(6 / (4 + 1)) < 1.05 * s.abs().max()
    assert not any(tensor.any() for name, tensor in own.items() if name.endswith("bias"))


@pytest.mark.parametrize(("n", "size"), [(4, 8), (2, 6), (1, 5)])
def test_a_bottleneck_is_a_multiple_of_n(n, size):
    own = own_tensors(install(freeze(make("llama")), CompacterPlus(n=n, reduction_factor=7)), "default")
    assert own["model.layers.0.mlp.down_proj.0_all.down.bias"].shape == (size,)


@pytest.mark.parametrize("cls", [Compacter, CompacterPlus])
def test_refuses_a_width_that_n_does_not_divide(cls):
    with pytest.raises(Refusal, match=r"method\.n = 5 does not divide the 32 features of model\.layers\.0\."):
        install(make("llama"), cls(n=5))
