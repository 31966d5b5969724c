"""LoRA+ against its two rates written out; its product is LoRA's."""

import pytest
import torch
from tests.methods.reparametrized.test_lora import filled
from tests.stages.runs import settings
from tests.zoo import make

from accorda.errors import Refusal
from accorda.methods.install import freeze, install, own_tensors
from accorda.methods.merging import merge
from accorda.methods.reparametrized.lora import LoRA
from accorda.methods.reparametrized.lora_plus import LoRAPlus
from accorda.recipe.load import load
from accorda.stages.build import build

QUERY = "model.layers.1.self_attn.q_proj"


def test_output_is_the_formula():
    model = filled(install(freeze(make("llama")), LoRAPlus(rank=4, alpha=6.0, target_modules="q_proj")))
    linear, own = model.get_submodule(QUERY), own_tensors(model, "default")
    A, B = (own[f"{QUERY}.0_all.lora_{factor}"] for factor in "AB")
    x, weight = torch.randn(3, 32), linear.weight.clone()
    torch.testing.assert_close(linear(x), torch.stack([weight @ row + 6.0 / 4 * (B @ (A @ row)) for row in x]))
    merge(model)
    torch.testing.assert_close(linear.weight, weight + 6.0 / 4 * B @ A)


def first_step(tmp_path, name, **method):
    """The gradients of the first step of a run, what moved by how much, and the event."""
    recipe = settings(tmp_path, f"{name}-{len(list(tmp_path.iterdir()))}", method={"name": name, "rank": 2, **method})
    recipe["training"] |= {"warmup_steps": 0, "schedule": "constant", "weight_decay": 0.1, "max_grad_norm": 1e9}
    loop = build(load(recipe)).loop
    before = {name: p.detach().clone() for name, p in loop.parameters().items()}
    gradients = {}
    step = loop.optimizer.step

    def seen():
        gradients.update({name: p.grad.clone() for name, p in loop.parameters().items()})
        step()

    loop.optimizer.step = seen
    event = loop.step()
    return loop, before, gradients, {name: p.detach() for name, p in loop.parameters().items()}, event


@pytest.mark.parametrize("ratio", [16.0, 4.0])
def test_a_run_trains_with_two_rates(ratio, tmp_path):
    """AdamW's first step by hand: theta (1 - lr decay) - lr g / (|g| + epsilon), with the lr of each tensor's group."""
    loop, before, gradients, after, event = first_step(tmp_path, "lora_plus", ratio=ratio)
    groups = {name: group for group in loop.optimizer.param_groups for name in group["names"]}
    assert {(name[-6:], group["lr"]) for name, group in groups.items()} == {("lora_A", 0.01), ("lora_B", 0.01 * ratio)}
    assert event["learning_rate"] == 0.01
    for name, start in before.items():
        lr = 0.01 * (ratio if name.endswith("lora_B") else 1.0)
        g = gradients[name]
        torch.testing.assert_close(after[name], start * (1 - lr * 0.1) - lr * g / (g.abs() + 1e-8))
        assert bool(g.any()) == name.endswith("lora_B")  # A's first gradient is zero, as B is


def test_a_ratio_of_one_is_lora(tmp_path):
    one, other = first_step(tmp_path, "lora_plus", ratio=1.0)[3], first_step(tmp_path, "lora")[3]
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_count_is_loras():
    model = make("llama", meta=True)
    assert LoRAPlus(rank=4).num_parameters(model) == LoRA(rank=4).num_parameters(model)


def test_refuses_what_is_not_linear():
    with pytest.raises(Refusal, match=r"lora_plus acts on linear layers, and .*input_layernorm"):
        install(make("llama"), LoRAPlus(target_modules="norm"))
