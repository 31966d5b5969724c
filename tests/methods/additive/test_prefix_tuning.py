"""Prefix-tuning against attention written out by hand, and against keys and values put into a cache."""

import pytest
import torch
from tests.zoo import batch, make
from transformers import DynamicCache, GPT2Config, GPT2LMHeadModel, T5Config, T5ForConditionalGeneration

from accorda.errors import Refusal
from accorda.generation.sample import generate
from accorda.methods.additive.prefix_tuning import PrefixTuning
from accorda.methods.additive.prompt_tuning import PromptTuning
from accorda.methods.checkpointing import enable_checkpointing
from accorda.methods.install import freeze, install, kept_tensors, own_tensors, remove
from accorda.methods.routing import use
from accorda.models.attention import Packing, use_attention
from accorda.models.roles import attentions

FLAT = PrefixTuning(num_virtual_tokens=3, reparametrized=False)
GREEDY = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}


def prefixed(architecture="llama", method=FLAT, **more):
    torch.manual_seed(2)
    model = freeze(make(architecture))
    use_attention(model)
    install(model, method)
    for name, other in more.items():
        install(model, other, name)
    return model


def test_the_formula():
    """The first attention module of GPT-2, from its own projections: softmax(q [P_K; K]^T / sqrt(d_h)) [P_V; V]."""
    model, inputs, seen = prefixed("gpt2"), batch("gpt2", rows=1), {}
    attention = model.transformer.h[0].attn
    attention.c_attn.register_forward_hook(lambda module, args, out: seen.update(qkv=out))
    attention.c_proj.register_forward_pre_hook(lambda module, args: seen.update(out=args[0]))
    model(**inputs)
    table = kept_tensors(model, "default")["0_prompt.prefixes.attention"]
    prefix_key, prefix_value = table[:, :32], table[:, 32:64]
    query, key, value = seen["qkv"][0].split(32, dim=1)
    for head in range(4):
        part = slice(8 * head, 8 * head + 8)
        keys, values = (
            torch.cat([prefix[:, part], own[:, part]]) for prefix, own in ((prefix_key, key), (prefix_value, value))
        )
        for at in range(7):
            scores = (query[at, part] @ keys[: 3 + at + 1].T) / 8**0.5
            expected = scores.softmax(0) @ values[: 3 + at + 1]
            torch.testing.assert_close(seen["out"][0, at, part], expected)


def test_the_network_of_the_paper():
    model = prefixed("gpt2", PrefixTuning(num_virtual_tokens=4, hidden_size=6))
    own = {name.rpartition("attention.")[2]: tensor for name, tensor in own_tensors(model, "default").items()}
    hidden = torch.tanh(own["embeddings"] @ own["inner.weight"].T + own["inner.bias"])
    by_hand = hidden @ own["outer.weight"].T + own["outer.bias"]
    (table,) = kept_tensors(model, "default").values()
    torch.testing.assert_close(table, by_hand)
    assert table.shape == (4, 2 * 2 * 32)


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gpt_neox", "gpt2", "phi3"])
def test_says_what_the_same_keys_and_values_say_from_a_cache(architecture):
    model, inputs = prefixed(architecture), batch(architecture)
    prompt, cache = model.get_submodule("adapters.default.0_prompt"), DynamicCache()
    for index, place in enumerate(attentions(model)):
        key, value = prompt.keys_values("")[place.name]
        cache.update(key.expand(3, -1, -1, -1), value.expand(3, -1, -1, -1), index)
    with use(model):
        by_hand = model(input_ids=inputs["input_ids"], past_key_values=cache).logits
    torch.testing.assert_close(model(**inputs).logits, by_hand, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("architecture", ["llama", "mistral", "gpt2", "bert", "t5", "bart"])
def test_rows_of_one_batch_may_have_different_prefixes_or_none(architecture):
    long = PrefixTuning(num_virtual_tokens=5, reparametrized=False)
    model, inputs = prefixed(architecture, other=FLAT, long=long), batch(architecture, rows=4)
    for rows in (["default", "other", "other", "default"], ["default", None, "long", "other"]):
        with use(model, rows=rows):
            together = model(**inputs).logits
        for row, name in enumerate(rows):
            with use(model, name):
                alone = model(**{key: value[row : row + 1] for key, value in inputs.items()}).logits[0]
            torch.testing.assert_close(together[row], alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "bert"])
def test_segments_of_one_packed_row_may_too(architecture):
    long = PrefixTuning(num_virtual_tokens=5, reparametrized=False)
    model, ids = prefixed(architecture, long=long), batch(architecture)["input_ids"]
    rows, ends = ["long", None, "default"], (0, 4, 11, 16)
    joined = torch.cat([ids[0, :4], ids[1, :7], ids[2, :5]])[None]
    with use(model, rows=rows):
        together = model(input_ids=joined, packing=Packing(ends)).logits[0]
    for row, name in enumerate(rows):
        with use(model, name):
            alone = model(input_ids=joined[:, ends[row] : ends[row + 1]]).logits[0]
        torch.testing.assert_close(together[ends[row] : ends[row + 1]], alone, atol=1e-5, rtol=1e-5)


def test_left_padded_rows_generate_as_alone():
    model = prefixed(long=PrefixTuning(num_virtual_tokens=5))
    ids, rows = batch("llama")["input_ids"], ["default", None, "long"]
    mask = torch.ones_like(ids)
    mask[0, :3] = 0
    with use(model, rows=rows):
        together = model.generate(input_ids=ids * mask, attention_mask=mask, **GREEDY)
        ours = generate(model, [row[keep.bool()].tolist() for row, keep in zip(ids, mask, strict=True)], stop_ids=())
    for row, (name, skipped) in enumerate(zip(rows, (3, 0, 0), strict=True)):
        with use(model, name):
            alone = model.generate(input_ids=ids[row : row + 1, skipped:], **GREEDY)
        assert torch.equal(together[row, 7:], alone[0, 7 - skipped :])
        assert ours[row].token_ids[:6] == alone[0, 7 - skipped :].tolist()


def test_with_a_prompt_in_front_the_prompt_sees_it_too():
    model = prefixed(method=(PromptTuning(num_virtual_tokens=2), FLAT))
    inputs, own = batch("llama"), own_tensors(model, "default")
    install(model, FLAT, "alone", active=False)
    with torch.no_grad():
        own_tensors(model, "alone")["0_prompt.prefixes.attention"].copy_(own["1_prompt.prefixes.attention"])
    embedded = model.get_input_embeddings()(inputs["input_ids"])
    front = own["0_prompt.prompt_embeddings"].expand(3, -1, -1)
    with use(model, "alone"):
        by_hand = model(inputs_embeds=torch.cat([front, embedded], 1)).logits[:, 2:]
    torch.testing.assert_close(model(**inputs).logits, by_hand)


def test_a_recomputed_block_finds_the_prefix_of_its_forward_pass():
    model, inputs = prefixed(method=PrefixTuning(num_virtual_tokens=3)).train(), batch("llama")
    install(model, PrefixTuning(num_virtual_tokens=3), "other", active=False)
    found = []
    for checkpoint in (False, True):
        model.zero_grad()
        if checkpoint:
            enable_checkpointing(model)
        loss = model(**inputs).logits.square().mean()
        with use(model, "other"):
            model(**inputs)
            loss.backward()
        found.append({name: tensor.grad.clone() for name, tensor in own_tensors(model, "default").items()})
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient)


def test_counts_of_the_paper():
    """GPT-2 medium, ten vectors: 491,520 are kept (24 layers, 2, 10, 1024); training adds what section 4.3 adds."""
    with torch.device("meta"):
        model = GPT2LMHeadModel(GPT2Config(n_embd=1024, n_layer=24, n_head=16))
        t5 = T5ForConditionalGeneration(T5Config(d_model=64, d_kv=8, num_heads=4, num_layers=3))
    count = PrefixTuning(num_virtual_tokens=10, hidden_size=512).num_parameters(model)
    assert count.kept == 491_520
    assert count.trained == 10 * 1024 + (1024 * 512 + 512) + 513 * 2 * 24 * 1024
    assert PrefixTuning(num_virtual_tokens=10).num_parameters(t5).kept == 3 * 2 * 3 * 10 * 4 * 8
    assert sum(name.endswith("embeddings") for name in PrefixTuning().build(t5).state_dict()) == 3


def test_refusals():
    model = make("falcon_new")
    with pytest.raises(Refusal, match="PrefixTuning acts inside accorda's attention function, and FalconForCausalLM"):
        install(model, PrefixTuning())
    assert "adapters" not in model._modules
    with pytest.raises(ValueError, match="hidden_size = 8: without a network it sets nothing"):
        PrefixTuning(reparametrized=False, hidden_size=8)
    assert PrefixTuning(hidden_size=8).kept() == PrefixTuning(reparametrized=False)


def test_a_model_loaded_elsewhere_gets_our_attention_and_forgets_the_prefix():
    model, inputs = freeze(make("llama")), batch("llama")
    before = model(**inputs).logits
    install(model, FLAT)
    assert not torch.allclose(model(**inputs).logits, before)
    remove(model, "default")
    torch.testing.assert_close(model(**inputs).logits, before)
    assert not any("prefix" in key for module in model.modules() for key in vars(module))
