"""Adapters on modules: inputs, taps, the base's own answer, shared state, stacks, dtypes, copies."""

import copy

import pytest
import torch
from tests.methods.cases import gradients, loss_of
from tests.methods.toys import Parallel, Scaling, Tied, Twice
from tests.zoo import batch, make

from accorda.errors import Refusal
from accorda.methods.base import Base
from accorda.methods.checkpointing import enable_checkpointing
from accorda.methods.host import hosting_of
from accorda.methods.install import freeze, hosts, install, own_tensors, remove, trainable
from accorda.methods.reparametrized.lora import LoRA
from accorda.methods.routing import use
from accorda.models.roles import find
from accorda.quantization import quantize_model


def built(architecture, *methods):
    torch.manual_seed(4)
    return install(freeze(make(architecture)), methods)


def randomised(model, name="default"):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in own_tensors(model, name).values():
            tensor.copy_(0.1 * torch.randn(tensor.shape, generator=generator))
    return model


def test_input_acts_before_the_module():
    model = built("llama", Scaling())
    down = model.model.layers[0].mlp.down_proj
    x = torch.randn(2, 3, 48)
    scale = own_tensors(model, "default")["model.layers.0.mlp.down_proj.0_all.scale"]
    torch.testing.assert_close(down(x), (x * scale) @ down.weight.T)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "falcon_new", "gpt_neox", "phi3"])
def test_taps_one_place_and_adds_at_another(architecture):
    model, inputs = built(architecture, Parallel()), batch(architecture)
    up, down = find(model, "mlp.up")[0], find(model, "mlp.down")[0]
    seen = {}
    up.module.register_forward_pre_hook(lambda module, args: seen.update(x=args[0]))
    down.module.register_forward_hook(lambda module, args, y: seen.update(received=args[0], y=y.clone()))
    model(**inputs)
    adapter = down.module.adapters["default"]["0_all"]
    bias = 0 if down.module.bias is None else down.module.bias
    answer = seen["received"] @ Base(down.module).weight.T + bias
    expected = answer + adapter.up(torch.relu(adapter.down(seen["x"])))
    torch.testing.assert_close(seen["y"], expected)


def test_a_tap_works_under_checkpointing_and_in_rows_and_leaves_nothing_behind():
    model, inputs = built("llama", Parallel()).train(), batch("llama")
    loss_of(model, inputs).backward()
    expected = gradients(model)
    model.zero_grad()
    enable_checkpointing(model)
    loss_of(model, inputs).backward()
    for name, gradient in expected.items():
        torch.testing.assert_close(gradients(model)[name], gradient)
    with use(model, rows=["default", None, "default"]):
        mixed = model(**inputs).logits
    with use(model):
        torch.testing.assert_close(mixed[1], model(**inputs).logits[1])
    torch.testing.assert_close(mixed[0], model(**inputs).logits[0])
    up = model.model.layers[0].mlp.up_proj
    assert hosting_of(up).taps[0].value is None
    remove(model, "default")
    assert hosting_of(up) is None
    assert not up._forward_pre_hooks


def test_base_answers_without_adapters_and_for_its_own_rows():
    model = built("gpt2", Twice())
    projection = model.transformer.h[0].attn.c_attn
    x = torch.randn(1, 3, 32)
    plain = x @ projection.weight + projection.bias
    expected = plain.clone()
    expected[..., :32] += 0.5 * (2 * x @ projection.weight[:, :32] + projection.bias[:32])
    torch.testing.assert_close(projection(x), expected)


@pytest.mark.parametrize("number_format", ["dense", "int8", "nf4"])
def test_base_on_a_bfloat16_model(number_format):
    model = freeze(make("llama")).to(torch.bfloat16)
    if number_format != "dense":
        quantize_model(model, number_format)
    install(model, Twice())
    x = torch.randn(1, 3, 32).to(torch.bfloat16)
    out = model.model.layers[0].self_attn.q_proj(x)
    assert out.dtype == torch.bfloat16
    weight = Base(model.model.layers[0].self_attn.q_proj).weight
    torch.testing.assert_close(out.float(), 2 * x.float() @ weight.float().T, atol=0.03, rtol=0.03)


def test_base_shows_the_dense_rows_of_its_site():
    model = make("gpt_neox")
    site = find(model, "attention.key")[0]
    base, weight = Base(site.module, site.rows), site.module.weight
    assert torch.equal(base.weight, weight[site.rows])
    assert torch.equal(base.bias, site.module.bias[site.rows])
    assert not base.quantized
    quantize_model(model, "int8")
    site = find(model, "attention.key")[0]
    base = Base(site.module, site.rows)
    assert base.quantized
    torch.testing.assert_close(base.weight, weight[site.rows], atol=weight.abs().max().item() / 127, rtol=0)


def test_shared_state_is_owned_once_and_trains():
    model = built("llama", Tied())
    assert sorted(name for name in trainable(model) if "shared" in name) == ["adapters.default.0_shared.weight"]
    assert Tied().num_parameters(make("llama")).trained == sum(p.numel() for p in trainable(model).values()) == 1026
    loss_of(model, batch("llama")).backward()
    assert all(gradient.any() for gradient in gradients(model).values())
    twin = copy.deepcopy(model)
    with torch.no_grad():
        trainable(twin)["adapters.default.0_shared.weight"].zero_()
    assert torch.equal(twin(**batch("llama")).logits, make("llama")(**batch("llama")).logits)
    assert not torch.equal(model(**batch("llama")).logits, twin(**batch("llama")).logits)


def test_methods_of_one_adapter_act_in_their_order():
    model = randomised(built("llama", Scaling(), LoRA(rank=2, alpha=2.0, target_modules="mlp.down")))
    down, own = model.model.layers[0].mlp.down_proj, own_tensors(model, "default")
    scale = own["model.layers.0.mlp.down_proj.0_all.scale"]
    A, B = (own[f"model.layers.0.mlp.down_proj.1_all.lora_{factor}"] for factor in "AB")
    x = torch.randn(2, 48)
    torch.testing.assert_close(down(x), (x * scale) @ (down.weight + B @ A).T)


def test_two_active_adapters_add_up():
    model = randomised(built("llama", LoRA(rank=2, target_modules="q_proj")))
    install(model, LoRA(rank=3, target_modules="q_proj"), "second")
    randomised(model, "second")
    query, x = model.model.layers[0].self_attn.q_proj, torch.randn(2, 32)
    both = query(x)
    with use(model):
        base = query(x)
    with use(model, "default"):
        first = query(x)
    with use(model, "second"):
        second = query(x)
    torch.testing.assert_close(both, first + second - base)


def test_a_module_that_does_not_see_rows_is_refused():
    model = built("llama", LoRA(rank=2, target_modules="q_proj"))
    query = model.model.layers[0].self_attn.q_proj
    with use(model, rows=["default", None]), pytest.raises(Refusal, match="2 rows were given, and the batch has 6"):
        query(torch.randn(6, 32))


def test_hosts_lists_what_carries_adapters():
    model = built("llama", LoRA(rank=2, target_modules="q_proj"))
    assert [path for path, _ in hosts(model)] == [f"model.layers.{i}.self_attn.q_proj" for i in range(2)]


def test_adapters_follow_the_model_to_another_dtype_and_to_training():
    model = built("llama", LoRA(rank=2, dropout=0.5)).train()
    dropout = model.model.layers[0].mlp.up_proj.adapters["default"]["0_all"].dropout
    assert dropout.training
    assert not model.eval().model.layers[0].mlp.up_proj.adapters["default"]["0_all"].training
    doubled = randomised(model).double()
    assert doubled(**batch("llama")).logits.dtype == torch.float64


def test_autocast_keeps_master_copies_in_fp32():
    model = randomised(built("llama", LoRA(rank=2))).train()
    with torch.autocast("cpu", torch.bfloat16):
        loss = loss_of(model, batch("llama"))
    loss.backward()
    assert {gradient.dtype for gradient in gradients(model).values()} == {torch.float32}
