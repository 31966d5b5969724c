"""Random weights in a number format are those of the dense model, and the dense model never stands in memory."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests.models.test_packed import SHAPE, assert_same, head_of
from tests.zoo import ARCHITECTURES, configuration
from torch import nn

from accorda.models import random_weights
from accorda.models.load import load_model
from accorda.models.random_weights import PuttingOff
from accorda.quantization import formats, number_format, quantize_model


@pytest.mark.parametrize("number", formats())
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_draws_are_those_of_the_dense_model(name, number, monkeypatch):
    monkeypatch.setattr(random_weights, "LARGE", 64)
    loading = {"config": configuration(name).to_dict(), "head": head_of(name), "device": "cpu"}
    dense, other = (load_model(None, seed=seed, **loading) for seed in (3, 4))
    with monkeypatch.context() as patch:
        patch.setattr("accorda.models.load.quantize_model", None)
        packed = load_model(None, seed=3, quantization=number, **loading)
    assert packed.accorda_fingerprint == dense.accorda_fingerprint != other.accorda_fingerprint
    assert getattr(packed, "accorda_new_heads", None) == getattr(dense, "accorda_new_heads", None)
    assert_same(packed, quantize_model(dense, number))


@pytest.mark.parametrize("large", [1, 1500, 1 << 18])
@pytest.mark.parametrize("options", [{"dtype": "bf16"}, {"head": "reward"}, {"double_quantization": False}])
def test_whatever_waits_and_however_it_is_asked_for(large, options, monkeypatch):
    monkeypatch.setattr(random_weights, "LARGE", large)
    loading = {"config": configuration("llama").to_dict(), "device": "cpu"} | options
    packed = load_model(None, quantization="nf4", **loading)
    double = loading.pop("double_quantization", True)
    assert_same(packed, quantize_model(load_model(None, **loading), number_format("nf4", double_quantization=double)))


def drawn(waits: bool) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Tensors filled in many ways, and what is drawn next."""
    torch.manual_seed(5)

    def fill():
        a, b, c, d, e = (torch.empty(20, 30) for _ in range(5))
        nn.init.kaiming_uniform_(a, a=5**0.5)
        nn.init.trunc_normal_(a, std=0.1)
        a.mul_(2).add_(1)
        nn.init.orthogonal_(b)
        nn.init.normal_(c)
        c[3].zero_()
        nn.init.uniform_(d)
        d.add_(c)
        nn.init.xavier_normal_(d.T)
        e.fill_(3).bernoulli_(0.5)
        small = nn.init.normal_(torch.empty(4))
        kept = c.sum()
        nn.init.normal_(c, std=0.02)
        own = torch.Generator().manual_seed(1)
        return [a, b, c, d, e, small, kept, nn.init.normal_(torch.empty(20, 30), generator=own)]

    if not waits:
        return fill(), torch.rand(3)
    with PuttingOff() as later:
        found = fill()
        assert later.waiting
    following = torch.rand(3)
    later.catch_up_with_all()
    assert not later.waiting
    return found, following


def test_putting_off_changes_no_number_and_no_state(monkeypatch):
    monkeypatch.setattr(random_weights, "LARGE", 100)
    (one, after), (other, after_other) = drawn(False), drawn(True)
    assert [torch.equal(a, b) for a, b in zip(one, other, strict=True)] == [True] * len(one)
    assert torch.equal(after, after_other)


MEASURE = """
import sys
from accorda.models.load import load_model
load_model(None, config={tiny!r}, quantization={number!r}, device="cpu", dtype={dtype!r})
def memory(name): return next(int(l.split()[1]) * 1024 for l in open("/proc/self/status") if l.startswith(name))
open("/proc/self/clear_refs", "w").write("5")
before = memory("VmRSS")
model = load_model(None, config={shape!r}, quantization={number!r}, device="cpu", dtype={dtype!r})
print(memory("VmHWM") - before, sum(p.nbytes for p in model.parameters()), memory("VmRSS") - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux to reset the high-water mark")
@pytest.mark.parametrize(("number", "dtype"), [("nf4", "bf16"), ("nf4", "float32"), ("int8", "bf16")])
def test_the_dense_model_never_stands_in_memory(number, dtype):
    """At the peak, the packed model and twice its largest tensor."""
    model = load_model(None, config=SHAPE, device="meta", dtype=dtype)
    dense, largest = (how(p.nbytes for p in model.parameters()) for how in (sum, max))
    code = MEASURE.format(tiny=SHAPE | {"num_hidden_layers": 1}, shape=SHAPE, number=number, dtype=dtype)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    peak, packed, held = map(int, done.stdout.split())
    assert peak <= packed + 2 * largest, (peak, packed, largest)
    assert held <= packed + 8e6
    assert peak < dense
