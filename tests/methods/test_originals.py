"""Parameters with several values."""

import copy

import pytest
import torch
from tests.methods.cases import loss_of
from tests.zoo import batch, make

from accorda.errors import Refusal
from accorda.methods.install import freeze, install, own_tensors, remove, trainable
from accorda.methods.originals import Original
from accorda.methods.routing import use
from accorda.methods.selective.layernorm import LayerNorm


@pytest.fixture
def original():
    module = torch.nn.Linear(2, 2)
    with torch.no_grad():
        module.weight.fill_(0.0)
    return Original(module, "somewhere", "weight")


def fill(original, value):
    with torch.no_grad():
        original.parameter.fill_(value)


def test_every_owner_has_its_value(original):
    original.add("a", keep_base=True)
    fill(original, 1.0)
    original.show(None)
    original.add("b", keep_base=True)
    fill(original, 2.0)
    for owner, value in {"a": 1.0, None: 0.0, "b": 2.0}.items():
        original.show(owner)
        assert (original.parameter == value).all()
        assert len(original.module.originals) == 2
    assert (original.value_of("a") == 1.0).all()
    original.drop("a")
    assert len(original.module.originals) == 1
    original.drop("b")
    assert (original.parameter == 0.0).all()
    assert "originals" not in original.module._modules


def test_settling_makes_the_value_the_bases(original):
    original.add("a", keep_base=True)
    fill(original, 1.0)
    original.show(None)
    original.settle("a")
    assert (original.parameter == 1.0).all()
    assert "originals" not in original.module._modules


def test_what_autocast_cast_of_another_value_is_not_used_for_this_one(original):
    """Else a reference would say what the policy says, and a policy be trained at its reference's weights."""
    original.add("a", keep_base=True)
    fill(original, 3.0)
    torch.nn.init.zeros_(original.module.bias)
    x, found = torch.ones(1, 2), []
    with torch.autocast("cpu", torch.bfloat16):
        for owner in ("a", None, "a"):
            original.show(owner)
            with torch.no_grad():
                found.append(original.module(x))
        loss = original.module(x).sum()
    assert [float(each.sum()) for each in found] == [12.0, 0.0, 12.0]
    assert float(loss) == 12.0


def test_a_graph_of_another_value_is_refused_and_of_the_same_value_is_right(original):
    original.add("a", keep_base=True)
    fill(original, 3.0)
    x = torch.ones(1, 2, requires_grad=True)
    y = original.module(x).sum()
    original.show(None)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward(retain_graph=True)
    original.show("a")
    y.backward()
    assert torch.equal(x.grad, torch.full((1, 2), 6.0))


def test_an_optimizer_step_between_visits_is_still_seen_by_autograd(original):
    original.add("a", keep_base=True)
    y = original.module(torch.ones(1, 2, requires_grad=True)).sum()
    original.show(None)
    original.show("a")
    fill(original, 1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


def test_two_adapters_train_the_same_norms_one_after_the_other():
    model, inputs = freeze(make("llama")), batch("llama")
    base = model(**inputs).logits
    results = {}
    for name, rate in {"a": 0.1, "b": 0.5}.items():
        with use(model):
            install(model, LayerNorm(), name)
        with use(model, name):
            optimizer = torch.optim.SGD(trainable(model).values(), lr=rate)
            loss_of(model, inputs).backward()
            optimizer.step()
            optimizer.zero_grad()
            results[name] = model(**inputs).logits
    for name in ("a", "b", "a"):
        with use(model, name):
            assert torch.equal(model(**inputs).logits, results[name])
    with pytest.raises(Refusal, match="both have a value"), use(model, ("a", "b")):
        pass
    twin = copy.deepcopy(model)
    remove(twin, "a")
    with use(twin, "b"):
        assert torch.equal(twin(**inputs).logits, results["b"])
    assert own_tensors(twin, "b").keys() == own_tensors(model, "b").keys()
    remove(twin, "b")
    assert torch.equal(twin(**inputs).logits, base)
    assert set(twin.state_dict()) == set(make("llama").state_dict())


def test_values_stay_beside_their_parameter_and_frozen():
    model = install(freeze(make("llama")), LayerNorm())
    kept = {name: p for name, p in model.named_parameters() if "originals" in name}
    assert kept.keys() == {f"{path}.originals.weight_0" for path in (
        "model.layers.0.input_layernorm",
        "model.layers.0.post_attention_layernorm",
        "model.layers.1.input_layernorm",
        "model.layers.1.post_attention_layernorm",
        "model.norm",
    )}  # fmt: skip
    assert not any(parameter.requires_grad for parameter in kept.values())
    assert model.to(torch.float64).model.norm.originals["weight_0"].dtype == torch.float64
