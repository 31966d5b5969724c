"""Who may rest: biases of keys where nothing tells keys apart, and nobody else."""

import pytest
from tests.methods.cases import loss_of
from tests.zoo import batch, make

from accorda.methods.install import freeze, install, resting, trainable
from accorda.methods.rest import shift_of_keys
from accorda.methods.selective.full import Full
from accorda.methods.selective.layernorm import LayerNorm


@pytest.mark.parametrize(
    ("architecture", "named"),
    [
        ("bert", "attention.self.key.bias"),
        ("bart", "attn.k_proj.bias"),
        ("phi", None),
        ("qwen2", None),
        ("llama", None),
    ],
)
def test_of_a_fully_trained_model_the_key_biases_only(architecture, named):
    model = install(freeze(make(architecture)), Full())
    reasons = resting(model)
    expected = {name for name in trainable(model) if named and name.endswith(named)}
    assert reasons.keys() == expected
    assert bool(expected) == bool(named)
    loss_of(model, batch(architecture)).backward()
    largest = max(parameter.grad.abs().max() for parameter in trainable(model).values())
    for name, parameter in trainable(model).items():
        assert (parameter.grad.abs().max() < 1e-6 * largest) == (name in reasons)


def test_norms_never_rest():
    assert resting(install(freeze(make("bert")), LayerNorm())) == {}


def test_takes_the_name_of_a_module_too():
    model = make("bert")
    assert shift_of_keys("bert.encoder.layer.0.attention.self.key", model)
    assert shift_of_keys("bert.encoder.layer.0.attention.self.query", model) is None
