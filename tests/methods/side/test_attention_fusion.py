"""AttentionFusion against its equations, written token by token."""

import math

import pytest
import torch
from tests.zoo import batch, make
from transformers import BertConfig, BertForMaskedLM

from accorda.errors import Refusal
from accorda.methods.install import freeze, install, own_tensors
from accorda.methods.reparametrized.lora import LoRA
from accorda.methods.side.attention_fusion import AttentionFusion


def tuned(**settings):
    torch.manual_seed(3)
    model = install(freeze(make("llama")), AttentionFusion(**settings))
    with torch.no_grad():
        for tensor in own_tensors(model, "default").values():
            tensor.add_(0.3 * torch.randn(tensor.shape))
    return model


def hidden_states_of_the_base(inputs):
    """Input of the first block and outputs of the blocks, taken by hand; and what the backbone returns."""
    model, states = make("llama"), []
    model.model.layers[0].register_forward_pre_hook(lambda module, args: states.append(args[0][0]))
    for layer in model.model.layers:
        layer.register_forward_hook(lambda module, args, out: states.append(out[0]))
    with torch.no_grad():
        last = model.model(**inputs).last_hidden_state[0]
    return states, last


def normalised(h, gain, offset):
    return gain * (h - h.mean()) / math.sqrt(h.var(unbiased=False) + 1e-5) + offset


def fused(vectors, query, biases):
    scores = [math.exp(query @ vector + bias) for vector, bias in zip(vectors, biases, strict=True)]
    return sum(score / sum(scores) * vector for score, vector in zip(scores, vectors, strict=True))


def test_uniform_form_is_the_papers():
    model, inputs = tuned(), batch("llama", rows=1)
    own = {name.partition(".")[2]: tensor.detach() for name, tensor in own_tensors(model, "default").items()}
    states, _ = hidden_states_of_the_base(inputs)
    for token in range(7):
        v = [normalised(state[token], own["norm.weight"], own["norm.bias"]) for state in states]
        mixed = fused(v, own["query"], [0, 0, 0])
        expected = model.lm_head(mixed * 0.5 * (1 + torch.erf(mixed / math.sqrt(2))))
        torch.testing.assert_close(model(**inputs).logits[0, token], expected, atol=1e-5, rtol=1e-5)


def test_last_layer_form():
    model, inputs = tuned(init="last_layer"), batch("llama", rows=1)
    own = {name.partition(".")[2]: tensor.detach() for name, tensor in own_tensors(model, "default").items()}
    states, last = hidden_states_of_the_base(inputs)
    for token in range(7):
        v = [normalised(state[token], own["norm.weight"], own["norm.bias"]) for state in states[:-1]] + [last[token]]
        mixed = fused(v, own["query"], own["bias"])
        torch.testing.assert_close(model(**inputs).logits[0, token], model.lm_head(mixed), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("init", ["uniform", "last_layer"])
def test_joint_form_normalises_all_layers_of_a_token_together(init):
    model, inputs = tuned(init=init, norm="joint"), batch("llama", rows=1)
    own = {name.partition(".")[2]: tensor.detach() for name, tensor in own_tensors(model, "default").items()}
    states, last = hidden_states_of_the_base(inputs)
    states = states if init == "uniform" else states[:-1]
    assert own["norm.weight"].shape == own["norm.bias"].shape == (len(states), 32)
    for token in range(7):
        joined = torch.cat([state[token] for state in states])
        v = list(normalised(joined, own["norm.weight"].flatten(), own["norm.bias"].flatten()).split(32))
        if init == "uniform":
            mixed = fused(v, own["query"], [0] * 3)
            mixed = mixed * 0.5 * (1 + torch.erf(mixed / math.sqrt(2)))
        else:
            mixed = fused([*v, last[token]], own["query"], own["bias"])
        torch.testing.assert_close(model(**inputs).logits[0, token], model.lm_head(mixed), atol=1e-5, rtol=1e-5)


def test_dropout_acts_on_every_layers_vector_before_they_are_weighed():
    """With half of the numbers dropped the scores of a vector change too, which dropout on the mixture would not do."""
    model, seen = install(freeze(make("llama")).train(), AttentionFusion(dropout=0.5)), []
    side = model.get_submodule("adapters.default.0_side")
    side.dropout.register_forward_hook(lambda module, args, out: seen.append((args[0], out)))
    torch.manual_seed(0)
    model(**batch("llama", rows=1))
    ((before, after),) = seen
    assert before.shape == after.shape == (1, 7, 3, 32)
    kept = after != 0
    assert 0.4 < kept.float().mean() < 0.6
    torch.testing.assert_close(after[kept], 2 * before[kept])


def test_starts():
    inputs = batch("llama", rows=1)
    base = make("llama")(**inputs).logits
    near = install(freeze(make("llama")), AttentionFusion(init="last_layer"))(**inputs).logits
    assert 0 < (near - base).abs().max() < 0.1
    uniform = install(freeze(make("llama")), AttentionFusion())
    v = [normalised(state[0], 1.0, 0.0) for state in hidden_states_of_the_base(inputs)[0]]
    expected = uniform.lm_head(torch.nn.functional.gelu(sum(v) / 3))
    torch.testing.assert_close(uniform(**inputs).logits[0, 0], expected, atol=1e-5, rtol=1e-5)


def test_count_of_the_paper():
    """0.0009% of BERT-large: 3 * 1024 of 335M."""
    with torch.device("meta"):
        model = BertForMaskedLM(BertConfig(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16))
    joint = AttentionFusion(norm="joint").num_parameters(model).trained
    assert joint == (2 * 25 + 1) * 1024
    count = AttentionFusion().num_parameters(model).trained
    assert count == 3 * 1024
    assert round(100 * count / 335_141_888, 4) == 0.0009


def test_cannot_share_the_backbone_with_adapters_inside_it():
    with pytest.raises(Refusal, match="install it alone"):
        install(make("llama"), (LoRA(), AttentionFusion()))


def test_two_side_networks_cannot_act_at_once():
    model = install(install(freeze(make("llama")), AttentionFusion(), "a"), AttentionFusion(), "b")
    with pytest.raises(Refusal, match="two side networks"):
        model(**batch("llama"))
