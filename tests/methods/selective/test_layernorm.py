"""LN tuning trains gains and offsets of norms and nothing else."""

import pytest
import torch
from tests.methods.cases import loss_of
from tests.zoo import batch, make
from transformers import BertConfig, BertForMaskedLM, GPT2Config, GPT2LMHeadModel

from accorda.methods.install import freeze, install, trainable
from accorda.methods.selective.layernorm import LayerNorm


def test_trains_as_torch_does_when_only_norms_ask_for_gradients():
    tuned, naive, inputs = install(freeze(make("gpt2")), LayerNorm()), freeze(make("gpt2")), batch("gpt2")
    for module in naive.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.requires_grad_(True)
    for model in (tuned, naive):
        optimizer = torch.optim.SGD(trainable(model).values(), lr=0.5)
        for _ in range(2):
            optimizer.zero_grad()
            loss_of(model, inputs).backward()
            optimizer.step()
    assert trainable(tuned).keys() == trainable(naive).keys()
    for name, parameter in trainable(naive).items():
        assert torch.equal(trainable(tuned)[name], parameter), name


def test_published_counts():
    """(2 L + 1) 2 D: GPT-2 medium 100,352; BERT-base 38,400 and 1,536 of its language model's head."""
    with torch.device("meta"):
        medium = GPT2LMHeadModel(GPT2Config(n_embd=1024, n_layer=24, n_head=16))
        base = BertForMaskedLM(BertConfig())
    assert LayerNorm().num_parameters(medium).trained == (2 * 24 + 1) * 2 * 1024 == 100_352
    assert LayerNorm().num_parameters(base).trained == (2 * 12 + 1) * 2 * 768 + 2 * 768


@pytest.mark.parametrize(
    ("architecture", "count"),
    [("llama", 5 * 32), ("qwen3", 5 * 32 + 4 * 8), ("t5", (2 * 2 + 3 * 2 + 2) * 32)],
)
def test_norms_inside_attention_and_after_the_stacks_are_norms(architecture, count):
    assert LayerNorm().num_parameters(make(architecture)).trained == count
