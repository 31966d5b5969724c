"""Norms trained as adapters: what they can reach is what training the norm's own parameters reaches."""

import pytest
import torch
from tests.zoo import make
from transformers import T5Config, T5ForConditionalGeneration

from accorda.methods.base import Base
from accorda.methods.norms import NormAdapter, norm_sites


@torch.no_grad()
@pytest.mark.parametrize("architecture", ["llama", "gemma", "gpt2", "bert", "t5"])
def test_is_the_norm_with_other_parameters(architecture):
    (site, *_) = norm_sites(make(architecture))
    module, adapter, x = site.module, NormAdapter(site), torch.randn(2, 3, 32)
    adapter.gain.normal_()
    received = module(x)
    if adapter.shift is not None:
        adapter.shift.normal_()
    found = adapter.output(x, received, Base(module))
    neutral = 1.0 if architecture == "gemma" else 0.0  # Gemma multiplies by 1 + weight
    module.weight.copy_((neutral + module.weight) * (1 + adapter.gain) - neutral)
    if adapter.shift is not None:
        module.bias.copy_(module.bias * (1 + adapter.gain) + adapter.shift)
    torch.testing.assert_close(found, module(x))


@pytest.mark.parametrize(("architecture", "offset"), [("llama", False), ("t5", False), ("gpt2", True), ("bert", True)])
def test_has_a_shift_where_the_norm_has_an_offset(architecture, offset):
    assert {NormAdapter(site).shift is not None for site in norm_sites(make(architecture))} == {offset}


def test_count_of_t5_base():
    """(2 * 12 + 3 * 12 + 2) * 768."""
    with torch.device("meta"):
        model = T5ForConditionalGeneration(T5Config(d_model=768, d_ff=3072, num_layers=12, num_heads=12))
        adapters = [NormAdapter(site) for site in norm_sites(model)]
    assert sum(parameter.numel() for adapter in adapters for parameter in adapter.parameters()) == 47_616
