import pytest
import torch
from tests.zoo import make
from torch import nn

from accorda.errors import Refusal
from accorda.methods.install import freeze, install, trainable
from accorda.methods.registry import methods
from accorda.methods.routing import use
from accorda.training import precision
from accorda.training.precision import LossScale, Precision, choose_precision


def test_auto_wants_both_hardware_and_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bf16", lambda device_type: True)
    assert choose_precision("auto", "cpu", 20_000_001).name == "bf16"
    small = choose_precision("auto", "cpu", 20_000_000)
    assert (small.name, small.reason) == ("fp32", "auto: 20,000,000 parameters")
    monkeypatch.setattr(precision, "has_bf16", lambda device_type: False)
    assert choose_precision("auto", "cpu", 10**9).name == "fp32"


def test_what_the_user_says_stands() -> None:
    assert choose_precision("bf16", "cpu", 5) == Precision("bf16", "cpu")
    assert choose_precision("fp16", "cuda", 5) == Precision("fp16", "cuda")
    with pytest.raises(Refusal, match=r"training\.precision: fp16 trains on CUDA only"):
        choose_precision("fp16", "cpu", 5)


def test_what_trains_is_fp32_and_the_frozen_base_keeps_its_dtype_under_autocast() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)).to(torch.bfloat16)
    model[0].requires_grad_(False)
    frozen, trained = model[0].weight, model[1].weight
    before = trained.detach().clone()
    Precision("bf16").prepare(model)
    assert frozen.dtype == torch.bfloat16
    assert trained.dtype == torch.float32
    assert torch.equal(trained.detach().bfloat16(), before)
    with Precision("bf16").autocast():
        assert model(torch.ones(1, 4)).dtype == torch.bfloat16


def test_a_trained_parameter_keeps_its_bits_when_the_base_is_shown_in_between() -> None:
    model = freeze(make("llama").to(torch.bfloat16))
    install(model, methods()["layernorm"]())
    Precision("bf16").prepare(model)
    named = trainable(model)
    for parameter in named.values():
        parameter.data.add_(torch.rand(parameter.shape) * 1e-4)
    before = {name: parameter.detach().clone() for name, parameter in named.items()}
    with use(model, None):
        assert not any(torch.equal(before[name], parameter) for name, parameter in named.items())
    assert all(torch.equal(before[name], parameter) for name, parameter in named.items())


def test_in_fp32_the_whole_model_computes_in_it() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)).to(torch.float16)
    model[0].requires_grad_(False)
    Precision("fp32").prepare(model)
    with Precision("fp32").autocast():
        assert model(torch.ones(1, 4)).dtype == torch.float32


def test_loss_scale_halves_on_overflow_and_doubles_after_patience() -> None:
    scale = LossScale(value=4.0, patience=3)
    for finite in (True, True, False, True, True):
        scale.update(finite)
    assert (scale.value, scale.good_steps) == (2.0, 2)
    scale.update(True)
    assert (scale.value, scale.good_steps) == (4.0, 0)
    for _ in range(2):
        scale.update(False)
    assert not scale.exhausted
    scale.update(False)
    assert scale.exhausted
