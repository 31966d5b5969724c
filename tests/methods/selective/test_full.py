"""Full fine-tuning is plain training of the whole model."""

import pytest
import torch
from tests.methods.cases import loss_of
from tests.zoo import batch, make

from accorda.errors import Refusal
from accorda.methods.install import freeze, install, remove, trainable
from accorda.methods.merging import merge
from accorda.methods.routing import use
from accorda.methods.selective.full import Full


def test_trains_as_without_us():
    tuned, naive, inputs = install(freeze(make("llama")), Full()), make("llama").requires_grad_(True), batch("llama")
    for model in (tuned, naive):
        optimizer = torch.optim.AdamW(trainable(model).values(), lr=0.01)
        for _ in range(3):
            optimizer.zero_grad()
            loss_of(model, inputs).backward()
            optimizer.step()
    merged = merge(tuned)
    for name, parameter in naive.named_parameters():
        assert torch.equal(merged.get_parameter(name), parameter), name


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "bart"])
def test_counts_every_parameter_once(architecture):
    model = make(architecture)
    assert Full().num_parameters(model).trained == sum(parameter.numel() for parameter in model.parameters())


def test_without_the_base_there_is_no_way_back():
    model = install(freeze(make("llama")), Full(keep_base=False))
    assert set(model.state_dict()) == set(make("llama").state_dict())
    with pytest.raises(Refusal, match="keep_base"), use(model):
        pass
    with pytest.raises(Refusal, match="keep_base"):
        remove(model, "default")
    assert len(trainable(model)) == len(list(make("llama").parameters()))
    assert not trainable(merge(model))


def test_refuses_a_second_owner_of_the_same_parameters():
    model = install(freeze(make("llama")), Full())
    with pytest.raises(Refusal, match="already trained by adapter 'default'"):
        install(model, Full(), "second")
