"""Fused forwards: who gets one, and that nothing else changes."""

import copy

import pytest
import torch
from tests.zoo import ARCHITECTURES, DECODERS, batch, make
from torch import nn

from accorda.kernels import rms_norm, rotary, swiglu
from accorda.models.attention import use_attention
from accorda.models.fused import fuse, fused_of

FUSED = {  # of two blocks each
    "llama": {"rms_norm": 5, "swiglu": 2, "rotary": 2},
    "qwen3": {"rms_norm": 9, "swiglu": 2, "rotary": 2},
    "gpt2": {},
    "bert": {},
}


@pytest.mark.parametrize("name", FUSED)
def test_modules_are_found_by_what_they_compute(name):
    model = make(name)
    assert fuse(model) == fused_of(model) == FUSED[name]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_fused_model_is_the_same_function(name):
    model = make(name)
    use_attention(model)
    fused = copy.deepcopy(model)
    fuse(fused)
    inputs = batch(name)
    for mine, theirs in ((fused, model), (copy.deepcopy(fused), model)):
        assert torch.equal(mine(**inputs).logits, theirs(**inputs).logits)
    assert list(fused.state_dict()) == list(model.state_dict())


def test_what_is_fused_goes_through_the_kernels(monkeypatch):
    """Each kernel is reached, through a copy's own modules, and hooks on them still run."""
    model, seen = make("llama"), []
    fuse(model)
    for module, name in ((rms_norm, "rms_norm"), (rotary, "rotate"), (swiglu, "swiglu")):
        real = getattr(module, name)

        def watched(*args, real=real, name=name, **kwargs):
            seen.append(name)
            return real(*args, **kwargs)

        monkeypatch.setattr(module, name, watched)
    copied = copy.deepcopy(model)
    norm = copied.model.norm
    norm.weight.data.fill_(0)  # the copy's norm, not the original's
    norm.register_forward_hook(lambda *_: seen.append("hook"))
    assert not copied(**batch("llama")).logits.any()
    assert model(**batch("llama")).logits.any()
    assert [seen.count(name) for name in ("rms_norm", "rotate", "swiglu", "hook")] == [10, 8, 4, 1]


@pytest.mark.gpu
@pytest.mark.parametrize("name", DECODERS)
def test_on_a_gpu_a_fused_model_is_near_the_original(name):
    model = make(name).cuda()
    fused = copy.deepcopy(model)
    fuse(fused)
    inputs = {key: value.cuda() for key, value in batch(name).items()}
    with torch.autocast("cuda", torch.bfloat16):
        losses = [one(**inputs).logits.float().logsumexp(-1).mean() for one in (model, fused)]
    torch.testing.assert_close(*losses, atol=1e-2, rtol=1e-2)
    for loss in losses:
        loss.backward()
    for (key, mine), theirs in zip(fused.named_parameters(), model.parameters(), strict=True):
        if theirs.grad is not None:
            assert mine.grad is not None, key
            scale = float(theirs.grad.abs().max()) + 1e-6
            torch.testing.assert_close(mine.grad, theirs.grad, atol=5e-2 * scale, rtol=0)


@pytest.mark.parametrize("name", FUSED)
def test_a_model_without_memory_is_fused_as_one_with_it(name):
    """So that a plan holds what the run will hold; without Triton the rotation stays as it is, which keeps nothing."""
    model = make(name)
    with torch.device("meta"):
        hollow = type(model)(model.config)
    found = {kernel: number for kernel, number in FUSED[name].items() if kernel != "rotary"}
    assert fuse(hollow, compiled=False) == found


class Gated(nn.Module):
    """A feed-forward with the parts of Llama's."""

    def __init__(self):
        super().__init__()
        self.gate_proj, self.up_proj = (nn.Linear(8, 16, bias=False) for _ in range(2))
        self.down_proj, self.act_fn = nn.Linear(16, 8, bias=False), nn.SiLU()

    def forward(self, x):
        return self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))


class Limited(Gated):
    """What no small random input tells from it."""

    limit = 10.0

    def forward(self, x):
        up = self.up_proj(x).clamp(-self.limit, self.limit)
        return self.down_proj(self.act_fn(self.gate_proj(x)) * up)


class Normed(Gated):
    """What does not run with parts of another width."""

    def __init__(self):
        super().__init__()
        self.act_fn = nn.Sequential(nn.SiLU(), nn.LayerNorm(5))


class Norm(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(8)), 1e-6

    def forward(self, x):
        return rms_norm.reference(x, self.weight, self.eps)


class GateNorm(Norm):
    """A norm whose second input changes what comes out."""

    def forward(self, x, gate=None):
        return super().forward(x if gate is None else x * gate)


@pytest.mark.parametrize(
    ("made", "found"),
    [(Gated, {"swiglu": 1}), (Limited, {}), (Normed, {}), (Norm, {"rms_norm": 1}), (GateNorm, {})],
)
def test_what_a_random_input_cannot_tell_stays_as_it_is(made, found):
    model = make("gpt2")
    model.add_module("other", made())
    assert fuse(model) == found


def test_less_is_kept_for_the_way_back():
    """Of a norm its input and a number per row, of a gated unit its two inputs: all of them there anyhow."""
    x, up = (torch.randn(4, 32, dtype=torch.bfloat16).requires_grad_() for _ in range(2))
    weight = torch.ones(32, dtype=torch.bfloat16)
    assert kept(lambda: rms_norm.rms_norm(x, weight, 1e-6), x, weight) == 4
    assert kept(lambda: rms_norm.reference(x, weight, 1e-6), x, weight) > 4 * 32  # in fp32
    assert kept(lambda: swiglu.swiglu(x, up), x, up) == 0
    assert kept(lambda: swiglu.reference(x, up), x, up) == 4 * 32


def kept(use, *inputs):
    """How many numbers a graph holds beside its inputs."""
    found = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: found.append(tensor) or tensor, lambda tensor: tensor):
        use()
    own = {tensor.data_ptr() for tensor in inputs}
    return sum(tensor.numel() for tensor in found if tensor.data_ptr() not in own)
