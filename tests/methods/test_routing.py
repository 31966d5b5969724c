"""The route: nesting, exceptions, rows of a batch and segments of a packed row."""

import pytest
import torch
from tests.zoo import batch, make

from accorda.errors import Refusal
from accorda.methods.install import freeze, install, own_tensors, remove
from accorda.methods.reparametrized.lora import LoRA
from accorda.methods.routing import Route, routing, use
from accorda.methods.selective.layernorm import LayerNorm
from accorda.models.attention import Packing, use_attention


def two():
    torch.manual_seed(0)
    model = freeze(make("llama"))
    use_attention(model)
    for name in ("a", "b"):
        install(model, LoRA(rank=2), name)
        with torch.no_grad():
            for tensor in own_tensors(model, name).values():
                tensor.copy_(0.1 * torch.randn_like(tensor))
    return model


def test_uses_nest_and_restore():
    model = two()
    assert routing(model).route == Route(("a", "b"))
    with use(model, "a"):
        with use(model, ("b", "a")):
            assert routing(model).route == Route(("b", "a"))
            with use(model):
                assert routing(model).route == Route()
        assert routing(model).route == Route(("a",))
    assert routing(model).route == Route(("a", "b"))


def test_routes_say_what_they_say():
    model, inputs = two(), batch("llama")
    base = make("llama")(**inputs).logits
    with use(model):
        torch.testing.assert_close(model(**inputs).logits, base)
    with use(model, "a"):
        a = model(**inputs).logits
    with use(model, "b"):
        b = model(**inputs).logits
    with use(model, rows=["b", None, "a"]):
        mixed = model(**inputs).logits
    for row, alone in enumerate((b, base, a)):
        torch.testing.assert_close(mixed[row], alone[row])
    assert not torch.allclose(a, b, atol=1e-2)


def test_rows_of_segments():
    model, inputs = two(), batch("llama")
    ids, packing = inputs["input_ids"].flatten()[None], Packing((0, 7, 14, 21))
    with use(model, rows=["b", None, "a"]):
        together = model(input_ids=ids, packing=packing).logits[0].view(3, 7, -1)
        mixed = model(**inputs).logits
    torch.testing.assert_close(together, mixed, atol=1e-5, rtol=1e-5)
    with use(model, rows=["b", None]), pytest.raises(Refusal, match="2 rows were given, and the packed batch has 3"):
        model(input_ids=ids, packing=packing)


def test_gradients_of_rows_reach_their_own_adapter_only():
    model, inputs = two(), batch("llama")
    with use(model, rows=["a", "a", None]):
        model(**inputs).logits.square().sum().backward()
    assert all(tensor.grad is None or not tensor.grad.any() for tensor in own_tensors(model, "b").values())
    mixed = {name: tensor.grad.clone() for name, tensor in own_tensors(model, "a").items()}
    model.zero_grad()
    with use(model, "a"):
        model(**{key: tensor[:2] for key, tensor in inputs.items()}).logits.square().sum().backward()
    for name, tensor in own_tensors(model, "a").items():
        torch.testing.assert_close(mixed[name], tensor.grad, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "c"}, "no adapter 'c' is installed; installed: a, b"),
        ({"rows": ["a", "c", None]}, "no adapter 'c'"),
        ({"name": "a", "rows": ["a"]}, "not both"),
    ],
)
def test_refusals_leave_the_route(arguments, words):
    model = two()
    with pytest.raises(Refusal, match=words), use(model, **arguments):
        pass
    assert routing(model).route == Route(("a", "b"))


def test_a_wrong_number_of_rows():
    model = two()
    with use(model, rows=["a", None]), pytest.raises(Refusal, match="2 rows were given, and the batch has 3"):
        model(**batch("llama"))


def test_rows_of_adapters_that_train_base_parameters():
    model = install(freeze(make("llama")), LayerNorm())
    with pytest.raises(Refusal, match="which rows of one batch share"), use(model, rows=["default", None, None]):
        pass


def test_an_adapter_removed_inside_is_gone_afterwards():
    model = two()
    with use(model):
        remove(model, "a")
    assert routing(model).route == Route(("b",))
    model(**batch("llama"))
