"""VeRA against its formula written out, PEFT's projections, and the paper's counts."""

import pytest
import torch
from peft import VeraConfig, get_peft_model
from safetensors.torch import load_file
from tests.methods.reparametrized.test_lora import filled
from tests.zoo import make
from transformers import GPT2Config, GPT2LMHeadModel, RobertaConfig, RobertaForMaskedLM

from accorda.errors import Refusal
from accorda.methods.install import freeze, install, own_tensors
from accorda.methods.reparametrized.vera import VeRA
from accorda.methods.storage import save_adapter

BOTH = ("attention.query", "attention.value")


def projections(model):
    shared = model.get_submodule("adapters.default.0_shared")
    return shared.A, shared.B


def test_output_is_the_formula():
    """Layers of different shapes take the first rows and columns of one pair."""
    model = filled(install(freeze(make("llama")), VeRA(rank=6, seed=3, target_modules=("k_proj", "down_proj"))))
    (A, B), own = projections(model), own_tensors(model, "default")
    assert (A.shape, B.shape) == ((6, 48), (32, 6))
    for path, out, into in (("self_attn.k_proj", 16, 32), ("mlp.down_proj", 32, 48)):
        linear = model.get_submodule(f"model.layers.1.{path}")
        d, b = (own[f"model.layers.1.{path}.0_all.lambda_{leaf}"] for leaf in "db")
        x = torch.randn(3, into)
        change = torch.diag(b) @ B[:out] @ torch.diag(d) @ A[:, :into]
        torch.testing.assert_close(linear(x), x @ (linear.weight + change).T)


def test_one_pair_of_projections_that_no_file_holds(tmp_path):
    model = install(freeze(make("gpt2")), VeRA(rank=5, target_modules=BOTH))
    held = {id(module.projections) for module in model.modules() if hasattr(module, "projections")}
    assert len(held) == 1
    assert not any(".A" in name or "shared" in name for name in model.state_dict())
    save_adapter(model, tmp_path)
    stored = load_file(tmp_path / "adapter_model.safetensors")
    assert sum(tensor.numel() for tensor in stored.values()) == 2 * 2 * (32 + 5)


def test_the_seed_decides_and_nothing_else():
    drawn = []
    for seed, noise in ((7, 1), (7, 2), (8, 1)):
        torch.manual_seed(noise)
        drawn.append(projections(install(make("llama"), VeRA(rank=4, seed=seed)))[1])
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_the_projections_are_pefts():
    theirs = get_peft_model(
        make("llama"), VeraConfig(r=7, projection_prng_key=5, target_modules=["q_proj", "down_proj"])
    )
    A, B = projections(install(make("llama"), VeRA(rank=7, seed=5, target_modules=("q_proj", "down_proj"))))
    assert torch.equal(A, theirs.base_model.vera_A["default"])
    assert torch.equal(B, theirs.base_model.vera_B["default"])


def test_starts_small():
    own = own_tensors(install(make("llama"), VeRA(rank=4, d_initial=0.3, target_modules="q_proj")), "default")
    assert all(bool((t == 0.3).all()) for name, t in own.items() if name.endswith("_d"))
    assert not any(t.any() for name, t in own.items() if name.endswith("_b"))


def test_counts_of_the_paper():
    """0.043M for RoBERTa-base at rank 1024 and 0.098M for GPT-2 medium, both on query and value."""
    with torch.device("meta"):
        roberta = RobertaForMaskedLM(RobertaConfig())
        gpt2 = GPT2LMHeadModel(GPT2Config(n_embd=1024, n_layer=24, n_head=16))
    assert VeRA(rank=1024, target_modules=BOTH).num_parameters(roberta).trained == 2 * 12 * (768 + 1024) == 43_008
    assert VeRA(rank=1024, target_modules=BOTH).num_parameters(gpt2).trained == 2 * 24 * (1024 + 1024) == 98_304


def test_refuses_what_is_not_linear():
    with pytest.raises(Refusal, match=r"vera acts on linear layers, and .*input_layernorm"):
        install(make("llama"), VeRA(target_modules="norm"))
