"""KronA against the Kronecker product written out, and the paper's count."""

import sys
from pathlib import Path

import pytest
import torch
from tests.methods.reparametrized.test_lora import filled
from tests.zoo import make
from transformers import T5Config, T5ForConditionalGeneration

from accorda.errors import Refusal
from accorda.methods.install import freeze, install, own_tensors
from accorda.methods.maths import kronecker
from accorda.methods.merging import merge
from accorda.methods.reparametrized.krona import KronA
from accorda.methods.storage import read_header, save_adapter

EVERY_ATTENTION = ("attention.query", "attention.value", "cross_attention.query", "cross_attention.value")
DOWN = "model.layers.1.mlp.down_proj"


def kron(A, B):
    """Block by block."""
    return torch.cat([torch.cat([entry * B for entry in row], dim=1) for row in A])


def test_output_and_merge_are_the_formula():
    model = filled(install(freeze(make("llama")), KronA(scaling=0.5, target_modules="down_proj")))
    linear, own = model.get_submodule(DOWN), own_tensors(model, "default")
    A, B = own[f"{DOWN}.0_all.A"].detach(), own[f"{DOWN}.0_all.B"].detach()
    x, weight = torch.randn(2, 3, 48), linear.weight.clone()
    torch.testing.assert_close(linear(x), x @ (weight + 0.5 * kron(A, B)).T)
    merge(model)
    torch.testing.assert_close(linear.weight, weight + 0.5 * kron(A, B))


@pytest.mark.parametrize("shape", [(1, 1), (32, 48), (2, 3), (16, 4)])
def test_blocks_of_a_given_shape(shape):
    own = own_tensors(install(make("llama"), KronA(block_shape=shape, target_modules="down_proj")), "default")
    assert own[f"{DOWN}.0_all.B"].shape == shape
    assert own[f"{DOWN}.0_all.A"].shape == (32 // shape[0], 48 // shape[1])


def test_a_product_never_forms_the_matrix():
    A, B = torch.randn(64, 32), torch.randn(32, 64)
    x = torch.randn(1, 2048)
    with torch.profiler.profile(profile_memory=True) as seen:
        y = kronecker.apply(x, A, B)
    largest = max(abs(event.self_cpu_memory_usage) for event in seen.events())
    assert largest < 2048 * 2048 * 4 / 50
    torch.testing.assert_close(y, x @ kron(A, B).T, atol=1e-3, rtol=1e-4)


def test_starts_at_a_random_factor_times_zero():
    own = own_tensors(install(make("llama"), KronA(target_modules="q_proj")), "default")
    assert all(bool(tensor.any()) == name.endswith(".A") for name, tensor in own.items())


def test_shapes_near_the_square_roots():
    assert [kronecker.middle_divisor(n) for n in (768, 4096, 11008, 7, 1)] == [24, 64, 86, 1, 1]


def test_count_of_the_paper():
    """T5-base, query and value of all 36 attentions: 24 x 32 + 32 x 24 on 72 matrices."""
    settings = {"d_model": 768, "d_ff": 3072, "num_layers": 12, "num_heads": 12, "num_decoder_layers": 12}
    with torch.device("meta"):
        model = T5ForConditionalGeneration(T5Config(**settings))
    assert KronA(target_modules=EVERY_ATTENTION).num_parameters(model).trained == 72 * 1536 == 110_592


@pytest.mark.parametrize(
    ("width", "targets", "kind"),
    [
        (64, ("q_proj", "o_proj"), "LOKR"),
        (64, "all-linear", "ACCORDA"),
        (32, ("q_proj", "o_proj"), "ACCORDA"),
    ],
)
def test_krona_by_default_is_lokr_on_square_widths_only_and_the_docs_say_so(width, targets, kind, tmp_path: Path):
    model = install(freeze(make("llama", hidden_size=width, head_dim=width // 4)), KronA(target_modules=targets))
    save_adapter(model, tmp_path / "adapter")
    assert read_header(tmp_path / "adapter")["peft_type"] == kind
    readme = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
    for told in (readme, sys.modules[KronA.__module__].__doc__ or ""):
        assert all(word in told for word in ("`decompose_factor`", "4096", "plain", "cannot read", "`all-linear`"))


def test_refusals():
    refused = (
        r"method\.block_shape = 5x8 does not divide model.layers.0.self_attn.q_proj \(attention.query\), which is 32x32"
    )
    with pytest.raises(Refusal, match=refused):
        install(make("llama"), KronA(block_shape=(5, 8), target_modules="q_proj"))
    with pytest.raises(Refusal, match=r"krona acts on linear layers, and .*input_layernorm"):
        install(make("llama"), KronA(target_modules="norm"))
