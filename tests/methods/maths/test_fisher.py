"""Squared gradients against autograd on each batch, and a model that is left as it was."""

import pytest
import torch
from tests.zoo import batch, make

from accorda.errors import Refusal
from accorda.methods.maths.fisher import squared_gradients


def batches(number=3):
    found = [batch("llama", rows=1, seed=seed) for seed in range(number)]
    return [each | {"labels": each["input_ids"]} for each in found]


def test_is_the_mean_of_squares_of_each_batch():
    model = make("llama")
    wanted = {name: p for name, p in model.named_parameters() if "mlp" in name or "embed" in name}
    found = squared_gradients(model, wanted, batches())
    for name, parameter in wanted.items():
        squares = [torch.autograd.grad(model(**each).loss, parameter)[0].square() for each in batches()]
        torch.testing.assert_close(found[name], sum(squares) / 3)


def test_reduces_as_asked():
    model = make("llama")
    weight = model.model.layers[0].mlp.up_proj.weight
    whole = squared_gradients(model, {"up": weight}, batches())["up"]
    rows = squared_gradients(model, {"up": weight}, batches(), lambda name, squares: squares.sum(1))["up"]
    torch.testing.assert_close(rows, whole.sum(1))


def test_leaves_the_model_as_it_was():
    model = make("llama").train()
    model.requires_grad_(False)
    bias, norm = model.model.norm.weight.requires_grad_(True), model.model.layers[0].mlp.up_proj.weight
    bias.grad = torch.ones_like(bias)
    flags, modes = {n: p.requires_grad for n, p in model.named_parameters()}, [m.training for m in model.modules()]
    squared_gradients(model, {"norm": bias, "up": norm}, batches())
    assert {n: p.requires_grad for n, p in model.named_parameters()} == flags
    assert [m.training for m in model.modules()] == modes
    assert torch.equal(bias.grad, torch.ones_like(bias))
    assert all(p.grad is None for p in model.parameters() if p is not bias)
    model(**batches()[0]).loss.backward()  # no hook is left that takes gradients away
    assert bias.grad is not None


def test_also_after_an_error():
    model = make("llama").requires_grad_(False)
    with pytest.raises(ValueError, match="input_ids"):
        squared_gradients(model, {"up": model.model.layers[0].mlp.up_proj.weight}, [{"no_such_input": 1}])
    assert not any(p.requires_grad for p in model.parameters())


def test_needs_a_batch():
    with pytest.raises(Refusal, match="no batch"):
        squared_gradients(make("llama"), {}, [])


def test_rows_without_labels_are_refused():
    with pytest.raises(Refusal, match="these rows have no labels"):
        squared_gradients(make("llama"), {}, [batch("llama")])
