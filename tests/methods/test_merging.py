"""Merging: stacks, layouts, number formats, tied heads, precision, refusals."""

import copy

import pytest
import torch
from tests.methods.toys import Scaling, Twice
from tests.zoo import batch, make
from transformers import AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from accorda.errors import Refusal
from accorda.methods.additive.prompt_tuning import PromptTuning
from accorda.methods.contract import NotMergeable
from accorda.methods.install import freeze, install, own_tensors
from accorda.methods.merging import merge, merged_module, merged_paths
from accorda.methods.reparametrized.lora import LoRA
from accorda.methods.routing import use
from accorda.methods.selective.bitfit import BitFit
from accorda.methods.selective.full import Full
from accorda.methods.selective.layernorm import LayerNorm
from accorda.quantization import quantize_model
from accorda.quantization.contract import QuantizedLinear


def tuned(architecture, *methods, number_format="dense"):
    torch.manual_seed(0)
    model = freeze(make(architecture))
    if number_format != "dense":
        quantize_model(model, number_format)
    install(model, methods)
    with torch.no_grad():
        for tensor in own_tensors(model, "default").values():
            tensor.add_(0.1 * torch.randn_like(tensor))
    return model


STACKS = {
    "lora and scaling": (LoRA(rank=2), Scaling(), LoRA(rank=3, target_modules="mlp")),
    "part and whole": (LoRA(rank=2, target_modules="attention.value"), LoRA(rank=2)),
    "parts": (LoRA(rank=2, target_modules=("attention.query", "attention.value")), BitFit(only_existing=True)),
    "parameters and adapters": (LayerNorm(), LoRA(rank=2)),
    "everything": (Full(), LoRA(rank=2), BitFit(only_existing=True)),
}


@pytest.mark.parametrize("number_format", ["dense", "int8", "nf4"])
@pytest.mark.parametrize("architecture", ["qwen2", "gpt2", "gpt_neox", "falcon_multi_query", "bert"])
@pytest.mark.parametrize("stack", STACKS)
def test_stacks(stack, architecture, number_format):
    if number_format != "dense" and stack == "everything":
        return  # full fine-tuning refuses such a base; the contract suite asserts it
    model, inputs = tuned(architecture, *STACKS[stack], number_format=number_format), batch(architecture)
    before = model(**inputs).logits
    with use(model):
        merge(model)
    torch.testing.assert_close(model(**inputs).logits, before, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(("architecture", "number_format"), [("gpt2", "dense"), ("gpt2", "int8"), ("llama", "nf4")])
def test_keeps_its_layout_and_leaves_other_modules(architecture, number_format):
    model = tuned(architecture, LoRA(rank=2, target_modules="mlp.down"), number_format=number_format)
    merge(model)
    merged = model.get_submodule(
        "transformer.h.0.mlp.c_proj" if architecture == "gpt2" else "model.layers.0.mlp.down_proj"
    )
    assert type(merged) is (Conv1D if architecture == "gpt2" else torch.nn.Linear)
    assert merged.weight.is_contiguous()
    assert merged.weight.shape == ((128, 32) if architecture == "gpt2" else (32, 48))
    others = [type(m) for n, m in model.named_modules() if n.endswith(("c_attn", "q_proj"))]
    assert all(issubclass(kind, QuantizedLinear) == (number_format != "dense") for kind in others)


def test_one_module_at_a_time_without_changing_the_model():
    model, inputs = tuned("gpt2", LoRA(rank=2), number_format="int8"), batch("gpt2")
    before, keys = model(**inputs).logits, set(model.state_dict())
    paths = merged_paths(model)
    assert len(paths) == 8
    for path in paths:
        alone, hosted = merged_module(model, "default", path), model.get_submodule(path)
        x = torch.randn(2, 3, hosted.in_features)
        torch.testing.assert_close(alone(x), hosted(x), atol=1e-5, rtol=1e-5)
        assert not alone._forward_hooks
        assert not alone._modules
    assert set(model.state_dict()) == keys
    assert torch.equal(model(**inputs).logits, before)


def test_sums_in_fp32_and_casts_last():
    """A change far below bfloat16's step must round once, not vanish in a bfloat16 product."""
    model = tuned("llama", LoRA(rank=2, target_modules="q_proj")).to(torch.bfloat16)
    for name, tensor in own_tensors(model, "default").items():
        tensor.data = tensor.data.float() if "lora" in name else tensor.data
    own = {name: tensor.clone() for name, tensor in own_tensors(model, "default").items()}
    path = "model.layers.0.self_attn.q_proj"
    weight = model.get_submodule(path).weight.clone()
    delta = 32 / 2 * own[f"{path}.0_all.lora_B"] @ own[f"{path}.0_all.lora_A"]
    merge(model)
    assert torch.equal(model.get_submodule(path).weight, (weight.float() + delta).to(torch.bfloat16))


def test_a_tied_head_is_untied_and_stays_so_on_disk(tmp_path):
    model, inputs = tuned("gpt2", LoRA(rank=2, target_modules="lm_head")), batch("gpt2")
    assert model.lm_head.weight is model.transformer.wte.weight
    embedding, before = model.transformer.wte.weight.clone(), model(**inputs).logits
    merge(model)
    model.tie_weights()
    torch.testing.assert_close(model(**inputs).logits, before)
    assert torch.equal(model.transformer.wte.weight, embedding)
    model.save_pretrained(tmp_path)
    torch.testing.assert_close(AutoModelForCausalLM.from_pretrained(tmp_path)(**inputs).logits, before)


def test_an_untied_model_stays_tied_where_nothing_else_was_merged(tmp_path):
    model = tuned("gpt2", LoRA(rank=2))
    merge(model)
    assert model.config.tie_word_embeddings
    assert model.lm_head.weight is model.transformer.wte.weight
    model.save_pretrained(tmp_path)
    torch.testing.assert_close(
        AutoModelForCausalLM.from_pretrained(tmp_path)(**batch("gpt2")).logits, model(**batch("gpt2")).logits
    )


def test_t5_cannot_do_without_its_tie():
    model = tuned("t5", LoRA(rank=2, target_modules="lm_head"))
    before = model(**batch("t5")).logits
    with pytest.raises(NotMergeable, match="lm_head"):
        merge(model)
    assert torch.equal(model(**batch("t5")).logits, before)


def test_refuses_while_others_are_installed():
    model = install(tuned("llama", LoRA(rank=2)), LoRA(rank=2), "other")
    with pytest.raises(Refusal, match="'other' was trained on the unmerged base"):
        merge(model)


@pytest.mark.parametrize("method", [PromptTuning(), Twice()])
def test_one_that_cannot_spoils_the_whole_adapter(method):
    model = tuned("llama", LoRA(rank=2), method)
    before = model(**batch("llama")).logits
    with pytest.raises(NotMergeable, match=f"{type(method).__name__} cannot be .*; leave it beside its base"):
        merge(model)
    assert torch.equal(model(**batch("llama")).logits, before)


def test_merging_a_copy_leaves_the_original():
    model, inputs = tuned("llama", LoRA(rank=2), LayerNorm()), batch("llama")
    before = model(**inputs).logits
    merge(copy.deepcopy(model))
    assert torch.equal(model(**inputs).logits, before)
