"""What methods ask of the loop reaches it, for the adapters that train and no others."""

import torch
from tests.zoo import make

from accorda.methods.install import freeze, install, own_tensors, trainable
from accorda.methods.reparametrized.adalora import AdaLoRA
from accorda.methods.reparametrized.lora import LoRA
from accorda.methods.reparametrized.lora_plus import LoRAPlus
from accorda.methods.routing import use
from accorda.methods.selective.layernorm import LayerNorm
from accorda.methods.stepping import extra_loss, on_step, rate_scales


def test_most_methods_ask_for_nothing():
    model = install(freeze(make("llama")), (LoRA(), LayerNorm()))
    assert (rate_scales(model), extra_loss(model), on_step(model, 10)) == ({}, None, None)


def test_rates_are_of_the_parameters_that_train_by_their_names():
    """Parts of a fused projection among them; an adapter that is only used has none."""
    model = install(freeze(make("gpt2")), LoRAPlus(rank=2, ratio=8.0, target_modules=("attention.query", "mlp.up")))
    install(model, LoRAPlus(rank=2), "used")
    for tensor in own_tensors(model, "used").values():
        tensor.requires_grad_(False)
    scales = rate_scales(model)
    assert scales.keys() == trainable(model).keys()
    assert {(name.rpartition(".")[2], scale) for name, scale in scales.items()} == {("lora_A", 1.0), ("lora_B", 8.0)}
    assert "transformer.h.1.attn.c_attn.adapters.default.0_query.lora_B" in scales


def test_every_method_of_a_composition_speaks_for_its_own_adapters():
    first, second = (
        AdaLoRA(target_modules="q_proj", orthogonality=1.0),
        AdaLoRA(target_modules="mlp", orthogonality=2.0),
    )
    torch.manual_seed(0)
    both = install(freeze(make("llama")), (first, LoRA(target_modules="k_proj"), second))
    torch.manual_seed(0)
    alone = install(freeze(make("llama")), first)
    given = extra_loss(both)()
    with use(both), use(alone):  # a route changes nothing: what is regularised are parameters
        torch.testing.assert_close(extra_loss(both)(), given)
    names = {name for name in own_tensors(both, "default") if ".0_all" in name}
    assert names == own_tensors(alone, "default").keys()
    assert given > extra_loss(alone)()
