"""Training some entries of a weight: one vector, scattered into the weight in every forward pass."""

import copy

import pytest
import torch
from tests.methods.cases import gradients, loss_of
from tests.methods.toys import Largest
from tests.zoo import batch, make

from accorda.errors import Refusal
from accorda.methods.checkpointing import enable_checkpointing
from accorda.methods.entries import written
from accorda.methods.install import freeze, install, own_tensors, remove, trainable
from accorda.methods.merging import merge
from accorda.methods.routing import use


def masks(model):
    return {name: p.abs() > 0.3 for name, p in model.named_parameters() if p.ndim == 2}


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma", "bert"])
def test_takes_the_steps_of_a_masked_gradient(architecture):
    """As if the whole weight trained and every other gradient were zeroed, without the weight's gradient."""
    tuned, naive, inputs = install(freeze(make(architecture)), Largest()), make(architecture), batch(architecture)
    entries = masks(naive)
    naive.requires_grad_(False)
    for name in entries:
        naive.get_parameter(name).requires_grad_(True)
    for model in (tuned, naive):
        optimizer = torch.optim.AdamW(trainable(model).values(), lr=0.01, weight_decay=0, eps=1e-4)
        for _ in range(3):
            optimizer.zero_grad()
            loss_of(model, inputs).backward()
            if model is naive:
                for name, mask in entries.items():
                    naive.get_parameter(name).grad *= mask
            optimizer.step()
    torch.testing.assert_close(tuned(**inputs).logits, naive(**inputs).logits, atol=1e-5, rtol=1e-5)
    assert all(p.grad is None for name, p in tuned.named_parameters() if "adapters" not in name)
    merged = merge(tuned)
    for name, parameter in naive.named_parameters():
        torch.testing.assert_close(merged.get_parameter(name).data, parameter.data, atol=1e-5, rtol=1e-5)
    assert set(merged.state_dict()) == set(naive.state_dict())


def test_counts_and_stores_entries():
    model = make("llama")
    expected = sum(int(mask.sum()) for mask in masks(model).values())
    assert Largest().num_parameters(model).trained == expected
    install(freeze(model), Largest())
    assert sum(p.numel() for p in trainable(model).values()) == expected
    own = own_tensors(model, "default")
    assert sum(tensor.numel() for name, tensor in own.items() if name.endswith("values")) == expected


def trained():
    model = install(freeze(make("llama")), Largest())
    with torch.no_grad():
        for tensor in trainable(model).values():
            tensor.normal_(generator=torch.Generator().manual_seed(0))
    return model


def test_on_and_off_and_copied_and_removed():
    model, inputs = trained(), batch("llama")
    base, tuned = make("llama")(**inputs).logits, model(**inputs).logits
    assert not torch.allclose(base, tuned)
    with use(model):
        assert torch.equal(model(**inputs).logits, base)
    twin = copy.deepcopy(model)
    assert torch.equal(twin(**inputs).logits, tuned)
    remove(twin, "default")
    assert torch.equal(twin(**inputs).logits, base)
    assert set(twin.state_dict()) == set(make("llama").state_dict())
    assert "weight" not in model.model.layers[0].mlp.up_proj.__dict__


def test_nothing_stands_before_the_weight_after_an_exception():
    model = trained()
    query = model.model.layers[0].self_attn.q_proj
    with pytest.raises(RuntimeError):
        query(torch.ones(1, 5))
    assert "weight" not in query.__dict__


def test_checkpointing_replays_the_route():
    model, inputs = trained().train(), batch("llama")
    loss_of(model, inputs).backward()
    expected = gradients(model)
    model.zero_grad()
    enable_checkpointing(model)
    loss = loss_of(model, inputs)
    with use(model):
        loss.backward()
    for name, gradient in expected.items():
        torch.testing.assert_close(gradients(model)[name], gradient)


def test_rows_are_refused():
    model = trained()
    with use(model, rows=["default", None, None]), pytest.raises(Refusal, match="some rows"):
        model(**batch("llama"))


def test_written_into_the_parameters_it_says_the_same_and_goes_back():
    model, inputs = trained(), batch("llama")
    tuned, before = model(**inputs).logits, {name: p.clone() for name, p in model.named_parameters()}
    with written(model, "default") as number:
        assert number == len(masks(make("llama")))
        assert torch.equal(model(**inputs).logits, tuned)
        with use(model):
            assert torch.equal(model(**inputs).logits, tuned)
    assert all(torch.equal(before[name], p) for name, p in model.named_parameters())
    assert torch.equal(model(**inputs).logits, tuned)
