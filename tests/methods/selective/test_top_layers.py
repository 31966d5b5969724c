"""The last blocks train as torch trains them, and the blocks below build no graph."""

import pytest
import torch
from tests.methods.cases import loss_of
from tests.zoo import batch, make
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM

from accorda.errors import Refusal
from accorda.methods.install import freeze, install, trainable
from accorda.methods.merging import merge
from accorda.methods.selective.top_layers import TopLayers
from accorda.models.roles import blocks


def test_trains_as_torch_does_when_only_the_last_block_and_norm_ask_for_gradients():
    tuned, naive, inputs = install(freeze(make("gpt2")), TopLayers()), freeze(make("gpt2")), batch("gpt2")
    naive.transformer.h[-1].requires_grad_(True)
    naive.transformer.ln_f.requires_grad_(True)
    for model in (tuned, naive):
        optimizer = torch.optim.AdamW(trainable(model).values(), lr=0.01)
        for _ in range(3):
            optimizer.zero_grad()
            loss_of(model, inputs).backward()
            optimizer.step()
    merged = merge(tuned)
    for name, parameter in naive.named_parameters():
        assert torch.equal(merged.get_parameter(name), parameter), name


@pytest.mark.parametrize("architecture", ["llama", "falcon_new", "bert", "t5", "bart"])
def test_blocks_below_build_no_graph(architecture):
    model = install(freeze(make(architecture)), TopLayers()).train()
    graph = {}

    def note(name):
        return lambda _, args, out: graph.update({name: (out[0] if isinstance(out, tuple) else out).requires_grad})

    for block in blocks(model):
        block.module.register_forward_hook(note(block.name))
    loss_of(model, batch(architecture)).backward()
    *below, top = graph
    assert graph[top]
    assert below
    assert not any(graph[name] for name in below)


def test_published_sizes_of_blocks():
    """A block of Llama-2 7B has 202,383,360 parameters, one of BERT-base 7,087,872."""
    with torch.device("meta"):
        llama = LlamaForCausalLM(LlamaConfig(hidden_size=4096, intermediate_size=11008, num_hidden_layers=4))
        bert = BertModel(BertConfig())
    assert TopLayers(num_layers=2).num_parameters(llama).trained == 2 * 202_383_360 + 4096
    assert TopLayers(num_layers=3, final_norm=False).num_parameters(llama).trained == 3 * 202_383_360
    assert TopLayers(num_layers=3).num_parameters(bert).trained == 3 * 7_087_872  # no norm behind a post-LN block


@pytest.mark.parametrize(
    ("architecture", "norms"),
    [("llama", ["norm"]), ("phi", ["final_layernorm"]), ("t5", ["final_layer_norm"]), ("bart", []), ("bert", [])],
)
def test_the_final_norm_and_no_other(architecture, norms):
    model = install(freeze(make(architecture)), TopLayers())
    top = blocks(model)[-1].name
    outside = {name.rpartition(".")[0] for name in trainable(model) if not name.startswith(f"{top}.")}
    assert [name.rpartition(".")[2] for name in outside] == norms


def test_more_blocks_than_there_are():
    with pytest.raises(Refusal, match=r"method\.num_layers = 3: this llama has 2 blocks"):
        install(make("llama"), TopLayers(num_layers=3))
    with pytest.raises(Refusal, match=r"method\.num_layers = 3: this decoder has 2 blocks"):
        install(make("t5"), TopLayers(num_layers=3))
