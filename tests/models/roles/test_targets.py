import pytest
from tests.zoo import ARCHITECTURES, DECODERS, make

from accorda.errors import Refusal
from accorda.models.roles import find, is_linear


def names(model, targets):
    return [(site.name.partition("h.0.")[2], site.role) for site in find(model, targets) if site.block == 0]


def test_a_role_means_the_part_and_a_name_the_whole():
    model = make("gpt2", meta=True)
    assert names(model, "attention.query") == [("attn.c_attn", "attention.query")]
    assert names(model, ["c_attn"]) == [("attn.c_attn", "attention.qkv")]
    assert find(model, "attention.query")[0].out_features == 32
    assert find(model, "c_attn")[0].out_features == 96


def test_a_family_means_its_parts_without_the_fused_whole():
    model = make("gpt2", meta=True)
    assert [role for _, role in names(model, "attention")] == [
        f"attention.{p}" for p in ("query", "key", "value", "output")
    ]
    assert [role for _, role in names(model, ["mlp"])] == ["mlp.up", "mlp.down"]
    assert [s.role for s in find(make("phi3", meta=True), "mlp") if s.block == 0] == ["mlp.gate", "mlp.up", "mlp.down"]
    assert {s.role for s in find(make("phi3", meta=True), "mlp.gate_up")} == {"mlp.gate_up"}


def test_attention_does_not_mean_cross_attention():
    model = make("t5", meta=True)
    assert {site.role.partition(".")[0] for site in find(model, "attention")} == {"attention"}
    assert all("EncDecAttention" in site.name for site in find(model, "cross_attention"))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_all_linear_is_every_linear_in_blocks_once_and_whole(name):
    model = make(name, meta=True)
    found = find(model, "all-linear")
    assert all(site.rows is None and is_linear(site.module) and site.block >= 0 for site in found)
    assert len({site.name for site in found}) == len(found)
    head = model.get_output_embeddings()
    assert all(site.module is not head for site in found)


@pytest.mark.parametrize("name", DECODERS)
def test_norm_embedding_and_head_are_roles(name):
    model = make(name, meta=True)
    assert [s.module for s in find(model, "head")] == [model.get_output_embeddings()]
    assert [s.module for s in find(model, "embedding")] == [model.get_input_embeddings()]
    norms = [m for m in model.modules() if "norm" in type(m).__name__.lower()]
    assert {s.module for s in find(model, "norm")} == set(norms)


def test_longer_names_from_the_right_narrow_the_choice():
    model = make("gpt2", meta=True)
    assert len(find(model, "c_proj")) == 4
    assert [s.name for s in find(model, ["h.1.mlp.c_proj", "0.attn.c_proj"])] == [
        "transformer.h.0.attn.c_proj",
        "transformer.h.1.mlp.c_proj",
    ]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("q_prj", "target_modules: 'q_prj' matches nothing in this llama model; nearest: q_proj"),
        ("atention", "nearest: attention"),
        ("attention.qkv", "'attention.qkv' matches nothing"),
        ("proj", "'proj' matches nothing"),
        ("zzz", "it has: attention.query"),
    ],
)
def test_no_match_is_refused_with_the_nearest_names(target, message):
    with pytest.raises(Refusal) as refusal:
        find(make("llama", meta=True), ["q_proj", target])
    assert message in str(refusal.value)
    assert str(refusal.value).startswith("method.target_modules: ")


def test_no_target_is_refused():
    with pytest.raises(Refusal, match=r"method\.target_modules is empty"):
        find(make("llama", meta=True), [])


def test_whole_and_part_of_one_module_are_refused():
    with pytest.raises(Refusal, match=r"h\.0\.attn\.c_attn whole and in part \(attention\.query\)"):
        find(make("gpt2", meta=True), ["c_attn", "attention.query"])
