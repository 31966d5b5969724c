"""Installing, composing, naming, removing."""

import pytest
import torch
from tests.methods.cases import loss_of
from tests.methods.toys import Parallel
from tests.zoo import batch, make, tiny_model_folder

from accorda.errors import Refusal
from accorda.methods.additive.prompt_tuning import PromptTuning
from accorda.methods.install import freeze, install, installed, own_tensors, remove, trainable
from accorda.methods.reparametrized.lora import LoRA
from accorda.methods.routing import routing, use
from accorda.methods.selective.layernorm import LayerNorm
from accorda.models.load import load_model


def test_freezing_is_apart_from_installing():
    model = freeze(make("llama"))
    install(model, LoRA(rank=2), "first")
    install(model, LayerNorm(), "second")
    kinds = {"lora" if "lora" in name else "norm" if "norm" in name else name for name in trainable(model)}
    assert kinds == {"lora", "norm"}
    loss_of(model, batch("llama")).backward()
    assert all(p.grad is not None for p in trainable(model).values())
    assert all(p.grad is None for p in model.parameters() if not p.requires_grad)


def test_new_heads_train_through_a_freeze(tmp_path):
    model = load_model(tiny_model_folder(tmp_path), head="reward")
    freeze(model)
    heads = set(trainable(model))
    assert heads
    count = LoRA(rank=2).num_parameters(model)
    assert count.heads == sum(p.numel() for p in trainable(model).values())
    install(model, LoRA(rank=2))
    assert count.trained == sum(p.numel() for name, p in trainable(model).items() if name not in heads)


def test_a_tuple_is_one_adapter():
    model, inputs = freeze(make("llama")), batch("llama")
    base = model(**inputs).logits
    methods = (LoRA(rank=2), PromptTuning(num_virtual_tokens=3), LayerNorm(), Parallel())
    install(model, methods, "all")
    assert installed(model) == {"all": methods}
    assert routing(model).route.active == ("all",)
    total = sum(method.num_parameters(make("llama")).trained for method in methods)
    assert sum(p.numel() for p in trainable(model).values()) == total
    optimizer = torch.optim.SGD(trainable(model).values(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        loss_of(model, inputs).backward()
        optimizer.step()
    tuned = model(**inputs).logits
    with use(model):
        assert torch.equal(model(**inputs).logits, base)
    assert torch.equal(model(**inputs).logits, tuned)
    remove(model, "all")
    assert torch.equal(model(**inputs).logits, base)


@pytest.mark.parametrize("name", ["", "a.b", "keys", "default"])
def test_names_that_cannot_be(name):
    model = install(make("llama"), LoRA(rank=2))
    with pytest.raises(Refusal, match=f"{name!r}"):
        install(model, LoRA(rank=2), name)


def test_unknown_names_list_the_known_ones():
    model = install(make("llama"), LoRA(rank=2), "mine")
    for action in (lambda: remove(model, "yours"), lambda: own_tensors(model, "yours")):
        with pytest.raises(Refusal, match=r"'yours' is installed; installed: mine"):
            action()


def test_a_target_that_matches_nothing():
    with pytest.raises(Refusal, match="q_porj"):
        install(make("llama"), LoRA(target_modules="q_porj"))


def test_an_empty_tuple():
    with pytest.raises(Refusal, match="empty"):
        install(make("llama"), ())


def test_own_tensors_are_live_and_have_no_name_of_the_adapter():
    model = install(freeze(make("llama")), (LoRA(rank=2, target_modules="q_proj"), PromptTuning(), LayerNorm()), "x")
    own = own_tensors(model, "x")
    assert {id(tensor) for tensor in own.values()} == {id(tensor) for tensor in trainable(model).values()}
    assert "model.layers.0.self_attn.q_proj.0_all.lora_A" in own
    assert "1_prompt.prompt_embeddings" in own
    assert "model.norm.weight" in own
    with use(model):
        assert own_tensors(model, "x")["model.norm.weight"] is not model.model.norm.weight


def test_inactive_on_request():
    model, inputs = freeze(make("llama")), batch("llama")
    base = model(**inputs).logits
    install(model, (PromptTuning(), LayerNorm()), active=False)
    assert torch.equal(model(**inputs).logits, base)
    assert routing(model).route.active == ()


def test_removing_one_of_two_leaves_the_other():
    model, inputs = freeze(make("llama")), batch("llama")
    install(model, PromptTuning(num_virtual_tokens=2), "first")
    alone = model(**inputs).logits
    install(model, LoRA(rank=2), "second")
    install(model, PromptTuning(num_virtual_tokens=4), "third")
    remove(model, "third")
    remove(model, "second")
    assert torch.equal(model(**inputs).logits, alone)
    assert installed(model).keys() == {"first"}


def test_a_refused_method_in_a_tuple_leaves_no_trace():
    model = make("llama")
    keys = set(model.state_dict())
    with pytest.raises(Refusal):
        install(model, (LayerNorm(), LayerNorm()))
    assert set(model.state_dict()) == keys
    assert installed(model) == {}
