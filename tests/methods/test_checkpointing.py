"""Checkpointing recomputes what the forward pass computed: under its adapters, rows and borders."""

import pytest
import torch
from tests.methods.cases import gradients
from tests.zoo import batch, make

from accorda.methods.checkpointing import enable_checkpointing
from accorda.methods.install import freeze, install, own_tensors, trainable
from accorda.methods.reparametrized.lora import LoRA
from accorda.methods.routing import use
from accorda.models.attention import Packing, use_attention


def two(rank_of_b=2):
    torch.manual_seed(0)
    model = freeze(make("llama"))
    use_attention(model)
    for name, rank in {"a": 2, "b": rank_of_b}.items():
        install(model, LoRA(rank=rank), name)
        with torch.no_grad():
            for tensor in own_tensors(model, name).values():
                tensor.copy_(0.1 * torch.randn_like(tensor))
    return model.train()


def run(model, elsewhere, route, inputs):
    model.zero_grad()
    with use(model, **route):
        loss = model(**inputs).logits.square().mean()
        if not elsewhere:
            loss.backward()
    if elsewhere:
        with use(model, "b"):
            model(**batch("llama"))  # another batch, with other rows and borders
            loss.backward()
    return gradients(model)


PACKED = {"input_ids": batch("llama")["input_ids"].flatten()[None], "packing": Packing((0, 7, 14, 21))}


@pytest.mark.parametrize("rank_of_b", [2, 3])
@pytest.mark.parametrize(
    ("route", "inputs"),
    [
        ({"name": "a"}, batch("llama")),
        ({"rows": ["a", None, "b"]}, batch("llama")),
        ({"rows": ["a", None, "b"]}, PACKED),
    ],
    ids=["name", "rows", "segments"],
)
def test_backward_elsewhere_is_backward_inside(route, inputs, rank_of_b):
    model = two(rank_of_b)
    expected = run(model, elsewhere=False, route=route, inputs=inputs)
    enable_checkpointing(model)
    for elsewhere in (False, True):
        found = run(model, elsewhere, route, inputs)
        assert found.keys() == expected.keys()
        for name, gradient in expected.items():
            torch.testing.assert_close(found[name], gradient, atol=1e-6, rtol=1e-5)


def test_the_route_is_the_callers_again_after_backward():
    model = two()
    enable_checkpointing(model)
    with use(model, "a"):
        loss = model(**batch("llama")).logits.square().mean()
    with use(model, "b"):
        before = model.eval()(**batch("llama")).logits
        model.train()
        loss.backward()
        assert torch.equal(model.eval()(**batch("llama")).logits, before)


def test_only_adapters_ask_for_gradients():
    """Transformers makes the embedding's output ask for gradients; a frozen backbone must build no graph."""
    model = freeze(make("llama")).train()
    enable_checkpointing(model)
    assert not model(**batch("llama")).logits.requires_grad
    assert not trainable(model)
