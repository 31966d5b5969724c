import pytest
import torch
from tests.zoo import ARCHITECTURES, DECODERS, batch, make
from torch import nn

from accorda.models.attention import Packing, use_attention
from accorda.models.heads import last_hidden, logits, new_heads, tail_parameters
from accorda.models.roles import backbones


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_tail_of_the_last_hidden_state_is_the_model(name):
    model, inputs = make(name), batch(name)
    expected = model(**inputs).logits
    hidden = last_hidden(model, **inputs)
    assert torch.equal(logits(model, hidden), expected)
    flat = logits(model, hidden.flatten(0, 1))
    torch.testing.assert_close(flat, expected.flatten(0, 1), atol=1e-6, rtol=0)
    assert logits(model, hidden[0, 0]).shape == expected.shape[-1:]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_gradients_through_pieces_of_the_tail_equal_the_whole(name):
    model, inputs = make(name), batch(name)
    model(**inputs).logits.square().sum().backward()
    expected = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    hidden = last_hidden(model, **inputs)
    sum(logits(model, piece).square().sum() for piece in hidden.flatten(0, 1).split(2)).backward()
    got = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    assert got.keys() == expected.keys()
    largest = max(float(gradient.abs().max()) for gradient in expected.values())
    for parameter, gradient in expected.items():
        torch.testing.assert_close(got[parameter], gradient, atol=1e-6 * largest, rtol=1e-4)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_tail_parameters_are_those_that_move_the_logits(name):
    model = make(name)
    hidden = torch.randn(2, 32, generator=torch.Generator().manual_seed(0))
    before = logits(model, hidden).detach()
    expected = []
    for parameter in model.parameters():
        kept = parameter.detach().clone()
        with torch.no_grad():
            parameter.add_(0.1 * torch.randn(kept.shape, generator=torch.Generator().manual_seed(1)))
            if not torch.equal(logits(model, hidden), before):
                expected.append(parameter)
            parameter.copy_(kept)
    assert [id(p) for p in tail_parameters(model)] == [id(p) for p in expected]


def test_tail_parameters_hold_what_trains_only():
    model = make("llama").requires_grad_(False)
    assert tail_parameters(model) == []
    model.model.embed_tokens.requires_grad_(True)
    assert tail_parameters(model) == []
    tied = make("gemma").requires_grad_(False)
    tied.model.embed_tokens.requires_grad_(True)
    assert [id(p) for p in tail_parameters(tied)] == [id(tied.model.embed_tokens.weight)]


def test_hooks_on_the_head_run_and_hooks_on_the_backbone_do_not():
    model = make("gpt2")
    hidden = last_hidden(model, **batch("gpt2"))
    plain = logits(model, hidden)
    model.transformer.register_forward_hook(lambda module, args, output: 1 / 0)
    model.lm_head.register_forward_hook(lambda module, args, output: output + 1)
    assert torch.equal(logits(model, hidden), plain + 1)


def test_hooks_on_the_backbone_run_in_last_hidden():
    model = make("t5")

    def double(module, args, output):
        output.last_hidden_state = output.last_hidden_state * 2
        return output

    plain = last_hidden(model, **batch("t5"))
    backbones(model)["decoder"].register_forward_hook(double)
    assert torch.equal(last_hidden(model, **batch("t5")), plain * 2)


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_an_error_leaves_the_model_whole(name):
    model = make(name)
    expected = model(**batch(name)).logits
    hooks = sum(len(m._forward_hooks) for m in model.modules())
    with pytest.raises(RuntimeError):
        logits(model, torch.zeros(2, 5))
    with pytest.raises((ValueError, TypeError)):
        last_hidden(model)
    assert sum(len(m._forward_hooks) for m in model.modules()) == hooks
    assert torch.equal(model(**batch(name)).logits, expected)


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt2"])
def test_last_hidden_takes_packed_rows(name):
    model = make(name)
    use_attention(model)
    ids = batch(name, rows=1, length=9)["input_ids"]
    packing = Packing((0, 4, 9))
    expected = model(input_ids=ids, packing=packing).logits
    assert torch.equal(logits(model, last_hidden(model, input_ids=ids, packing=packing)), expected)


@pytest.mark.parametrize("name", DECODERS)
def test_no_cache_is_kept_unless_asked(name):
    model, kept = make(name), []
    model.base_model.register_forward_hook(lambda module, args, output: kept.append(output.past_key_values))
    last_hidden(model, **batch(name))
    last_hidden(model, **batch(name), use_cache=True)
    assert kept[0] is None
    assert kept[1] is not None


def test_new_heads_are_none_for_a_language_model():
    assert new_heads(make("llama")) == {}
    model = make("llama")
    model.score = nn.Linear(32, 2)
    model.accorda_new_heads = ("score",)
    assert new_heads(model) == {"score": model.score}
