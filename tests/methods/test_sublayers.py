"""Where sub-layers begin, end and are closed by a norm, on real classes."""

import pytest
from tests.zoo import ARCHITECTURES, make

from accorda.errors import Refusal
from accorda.methods.sublayers import BEGINS, beginning, closing_norm, linears, num_features, present
from accorda.models.roles import sites

POST_LN = ("bert", "roberta", "distilbert", "electra", "bart")
PLACES = {
    "llama": ("self_attn.q_proj", "mlp.up_proj"),
    "phi3": ("self_attn.qkv_proj", "mlp.gate_up_proj"),
    "gpt_neox": ("attention.query_key_value", "mlp.dense_h_to_4h"),
    "bert": ("attention.self.query", "intermediate.dense"),
}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_sub_layer_has_a_beginning_of_the_models_width(architecture):
    every = sites(make(architecture))
    ends = [site for site in every if site.role in BEGINS]
    assert ends
    for site in ends:
        begins = beginning(site, every)
        assert (begins.stack, begins.block, begins.in_features) == (site.stack, site.block, site.out_features)
        assert num_features(site) == begins.in_features
        norm = closing_norm(site, every)
        assert (norm is not None) == (architecture in POST_LN)
        assert norm is None or (norm.stack, norm.block) == (site.stack, site.block)


@pytest.mark.parametrize("architecture", PLACES)
def test_beginnings_by_name(architecture):
    every = sites(make(architecture))
    ends = {site.role: site for site in every if site.role in BEGINS}
    found = [beginning(ends[role], every).name for role in ("attention.output", "mlp.down")]
    assert [name.endswith(place) for name, place in zip(found, PLACES[architecture], strict=True)] == [True, True]


def test_closing_norms_of_a_block_by_name():
    every = [site for site in sites(make("bart")) if (site.stack, site.block) == ("decoder", 1)]
    assert {site.role: closing_norm(site, every).leaf for site in every if site.role in BEGINS} == {
        "attention.output": "self_attn_layer_norm",
        "cross_attention.output": "encoder_attn_layer_norm",
        "mlp.down": "final_layer_norm",
    }


def test_elsewhere_no_sub_layer_ends():
    every = sites(make("bert"))
    query = next(site for site in every if site.role == "attention.query")
    assert beginning(query, every) is closing_norm(query, every) is None
    assert num_features(query) == 32


def test_cross_attention_is_left_out_where_there_is_none():
    roles = ("attention.output", "cross_attention.output")
    assert present(make("llama"), roles) == ("attention.output",)
    assert present(make("t5"), roles) == roles


def test_only_linear_layers():
    with pytest.raises(
        Refusal, match=r"target_modules: houlsby acts on linear layers, and model.norm \(norm\) is none"
    ):
        linears(make("llama"), "model.norm", "houlsby")
