import pytest
import torch
import transformers as hf
from tests.zoo import ARCHITECTURES, DECODERS, ENCODER_DECODERS, ENCODERS, batch, make
from torch import nn
from transformers import AutoModelForCausalLM

from accorda.errors import Refusal
from accorda.models.roles import attentions, backbones, blocks, features, is_linear, sites

GATED = ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "phi3")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_linear_of_every_block_has_one_role(name):
    model = make(name, meta=True)
    found = sites(model)
    whole = {site.name for site in found if site.rows is None and is_linear(site.module) and site.block >= 0}
    expected = {
        f"{block.name}.{path}" for block in blocks(model) for path, m in block.module.named_modules() if is_linear(m)
    }
    assert whole == expected
    assert len({(site.name, site.role) for site in found}) == len(found)
    assert all(model.get_submodule(site.name) is site.module for site in found)


@pytest.mark.parametrize("name", DECODERS)
def test_roles_of_a_decoder(name):
    found = sites(make(name, meta=True))
    inside = {site.role for site in found if site.block == 1}
    assert {"attention.query", "attention.key", "attention.value", "attention.output", "mlp.up", "mlp.down"} <= inside
    assert ("mlp.gate" in inside) == (name in GATED)
    assert [site.role for site in found].count("head") == 1
    assert [site.role for site in found].count("embedding") == 1
    assert any(site.role == "norm" and site.block == -1 for site in found)
    assert {site.block for site in found} == {-1, 0, 1}


def test_features_count_the_rows_of_the_part():
    query, key = (
        next(s for s in sites(make("phi3", meta=True)) if s.role == f"attention.{r}") for r in ("query", "key")
    )
    assert (query.in_features, query.out_features, key.out_features) == (32, 32, 16)
    assert features(nn.Embedding(7, 3)) == (7, 3)
    assert features(nn.LayerNorm(5)) == (5, 5)


def test_post_norms_are_told_from_pre_norms():
    for name in ENCODERS:
        found = [site.role for site in sites(make(name, meta=True)) if site.block == 0 and site.role.startswith("norm")]
        assert found == ["norm.attention", "norm.mlp"], name
    bart = {site.role for site in sites(make("bart", meta=True)) if site.stack == "decoder" and site.block >= 0}
    assert {"norm.attention", "norm.cross_attention", "norm.mlp", "cross_attention.query"} <= bart
    assert {site.role for site in sites(make("llama", meta=True)) if "norm" in site.role} == {"norm"}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_blocks_are_numbered_within_their_stack(name):
    stacks = ("encoder", "decoder") if name in ENCODER_DECODERS else ("",)
    model = make(name, meta=True)
    assert [(block.stack, block.index) for block in blocks(model)] == [(stack, i) for stack in stacks for i in (0, 1)]
    assert tuple(backbones(model)) == stacks


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if not name.startswith("falcon")])
def test_attentions_are_the_modules_that_call_the_attention_function(name):
    model = make(name)
    calls = []

    def spy(module, query, key, value, *args, **kwargs):
        calls.append((module, key.shape[1], key.shape[3]))
        return query.transpose(1, 2), None

    hf.AttentionInterface.register("spy", spy)
    model.set_attn_implementation("spy")
    with torch.no_grad():
        model(**batch(name))
    found = [(a.module, a.num_key_value_heads, a.head_dim) for a in attentions(model)]
    assert sorted(found, key=lambda a: id(a[0])) == sorted(calls, key=lambda a: id(a[0]))
    crossing = [a for a in attentions(model) if a.role == "cross_attention"]
    assert len(crossing) == (2 if name in ENCODER_DECODERS else 0)


def test_modules_hung_on_by_methods_are_not_sites():
    model = make("llama")
    names = [site.name for site in sites(model)]
    first = blocks(model)[0].module
    first.self_attn.q_proj.adapters = nn.ModuleDict({"default": nn.Linear(32, 32)})
    model.adapters_shared = nn.ModuleDict({"default": type(first)(model.config, 0)})
    assert [site.name for site in sites(model)] == names
    assert len(blocks(model)) == 2


def test_a_linear_of_unknown_role_is_refused_by_name():
    model = make("llama")
    blocks(model)[1].module.self_attn.extra = nn.Linear(2, 2)
    with pytest.raises(Refusal, match=r"model\.layers\.1\.self_attn\.extra \(Linear\) in a llama model"):
        sites(model)


def test_a_block_without_a_required_role_is_refused():
    model = make("llama")
    del blocks(model)[0].module.self_attn.v_proj
    with pytest.raises(Refusal, match=r"model\.layers\.0 of this llama model has no attention\.value"):
        sites(model)


def _tiny(model_type: str, **more):
    config = hf.AutoConfig.for_model(
        model_type,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        vocab_size=67,
        **more,
    )
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def test_experts_are_refused_by_name():
    with pytest.raises(Refusal, match=r"model\.layers\.0\.mlp\.experts\.\w+ belongs to experts"):
        sites(_tiny("mixtral", num_local_experts=4, num_key_value_heads=2))


def test_a_fused_projection_of_unknown_layout_is_refused():
    with pytest.raises(Refusal, match=r"fused projection whose layout accorda does not know for bloom"):
        sites(_tiny("bloom", n_head=4, n_layer=2))


@pytest.mark.parametrize("model_type", ["starcoder2", "stablelm", "granite", "olmo2", "cohere", "smollm3"])
def test_further_types_resolve_without_a_file(model_type):
    assert {site.block for site in sites(_tiny(model_type, num_key_value_heads=2, pad_token_id=0))} == {-1, 0, 1}


def test_encoders_that_share_or_disentangle_are_refused_by_name():
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    with torch.device("meta"):
        albert = hf.AlbertForMaskedLM(hf.AlbertConfig(**sizes, embedding_size=16, vocab_size=67))
        deberta = hf.DebertaV2ForMaskedLM(hf.DebertaV2Config(**sizes, vocab_size=67))
    with pytest.raises(Refusal, match="AlbertForMaskedLM has no blocks accorda can find"):
        sites(albert)
    with pytest.raises(Refusal, match=r"does not know the role of .*query_proj .*deberta-v2"):
        sites(deberta)
