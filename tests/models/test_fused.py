"""Fused forwards: who gets one, and that nothing else changes."""

import copy

import pytest
import torch
from tests.zoo import ARCHITECTURES, DECODERS, batch, make

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
