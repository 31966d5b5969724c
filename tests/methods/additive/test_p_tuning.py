"""P-tuning: the encoder written out by hand, its counts, where the vectors stand."""

import pytest
import torch
from tests.zoo import batch, make
from transformers import BertConfig, BertForMaskedLM

from accorda.errors import Refusal
from accorda.methods.additive.p_tuning import PTuning
from accorda.methods.install import freeze, install, kept_tensors, own_tensors
from accorda.methods.registry import read
from accorda.methods.routing import use
from accorda.models.attention import use_attention


def tuned(architecture="llama", **settings):
    torch.manual_seed(2)
    model = freeze(make(architecture))
    use_attention(model)
    return install(model, PTuning(**{"num_virtual_tokens": 5} | settings))


def one_way(inputs, own, layer, suffix):
    """An LSTM over the inputs (P, D) in one direction, gate by gate."""
    weights, recurrent = own[f"lstm.weight_ih_l{layer}{suffix}"], own[f"lstm.weight_hh_l{layer}{suffix}"]
    bias = own[f"lstm.bias_ih_l{layer}{suffix}"] + own[f"lstm.bias_hh_l{layer}{suffix}"]
    state = cell = torch.zeros(recurrent.shape[1])
    found = []
    for vector in inputs:
        enter, forget, candidate, leave = (weights @ vector + recurrent @ state + bias).chunk(4)
        cell = forget.sigmoid() * cell + enter.sigmoid() * candidate.tanh()
        state = leave.sigmoid() * cell.tanh()
        found.append(state)
    return torch.stack(found)


def test_the_encoder_of_the_paper():
    model = tuned()
    own = {name.removeprefix("0_prompt."): tensor for name, tensor in own_tensors(model, "default").items()}
    states = own["embeddings"]
    for layer in (0, 1):
        there, back = one_way(states, own, layer, ""), one_way(states.flip(0), own, layer, "_reverse").flip(0)
        states = torch.cat([there, back], 1)
    hidden = torch.relu(states @ own["mlp.0.weight"].T + own["mlp.0.bias"])
    by_hand = hidden @ own["mlp.2.weight"].T + own["mlp.2.bias"]
    vectors = kept_tensors(model, "default")["0_prompt.prompt_embeddings"]
    torch.testing.assert_close(vectors, by_hand)
    inputs = batch("llama")
    with use(model):
        embedded = model.get_input_embeddings()(inputs["input_ids"])
        expected = model(inputs_embeds=torch.cat([by_hand.expand(3, -1, -1), embedded], 1)).logits[:, 5:]
    torch.testing.assert_close(model(**inputs).logits, expected)


@pytest.mark.parametrize("architecture", ["llama", "bert", "t5"])
@pytest.mark.parametrize("encoder", ["bilstm", "mlp", "none"])
def test_a_template_spreads_the_vectors(architecture, encoder):
    """The paper's shape: some vectors, text, more vectors, text."""
    model, inputs = tuned(architecture, encoder=encoder, placement="placeholder"), batch(architecture)
    ids = inputs.pop("input_ids")
    first, second = torch.tensor([-1, -2, -3]).expand(3, -1), torch.tensor([-4, -5]).expand(3, -1)
    mixed = torch.cat([first, ids[:, :3], second, ids[:, 3:]], 1)
    inputs["attention_mask"] = torch.ones_like(mixed)
    logits = model(input_ids=mixed, **inputs).logits
    with use(model):
        table = model.get_input_embeddings()
        vectors = kept_tensors(model, "default")["0_prompt.prompt_embeddings"].expand(3, -1, -1)
        parts = [vectors[:, :3], table(ids[:, :3]), vectors[:, 3:], table(ids[:, 3:])]
        by_hand = model(inputs_embeds=torch.cat(parts, 1), **inputs).logits
    torch.testing.assert_close(logits, by_hand)
    logits.square().mean().backward()
    assert all(tensor.grad.any() for tensor in own_tensors(model, "default").values())


@pytest.mark.parametrize("num", [1, 9])
def test_counts(num):
    """The LSTM holds 12 d^2 + 16 d, the layers after it 2 (d^2 + d); kept are num d. PEFT's MLP holds three linears."""
    d = 768
    with torch.device("meta"):
        model = BertForMaskedLM(BertConfig(num_hidden_layers=1))
    count = PTuning(num_virtual_tokens=num).num_parameters(model)
    assert (count.trained, count.kept) == (12 * d**2 + 16 * d + 2 * (d**2 + d) + num * d, num * d)
    mlp = PTuning(num_virtual_tokens=num, encoder="mlp", hidden_size=64).num_parameters(model)
    assert mlp.trained == num * d + (64 * d + 64) + (64 * 64 + 64) + (64 * d + d)
    assert PTuning(num_virtual_tokens=num, encoder="none").num_parameters(model).trained == num * d


def test_full_precision_under_autocast():
    model, inputs = tuned(), batch("llama")
    plain = kept_tensors(model, "default")["0_prompt.prompt_embeddings"]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(kept_tensors(model, "default")["0_prompt.prompt_embeddings"], plain)
        model(**inputs).logits.float().square().mean().backward()
    assert all(bool(tensor.grad.isfinite().all()) for tensor in own_tensors(model, "default").values())


def test_refusals():
    with pytest.raises(Refusal, match="two directions"):
        read({"name": "p_tuning", "hidden_size": 7})
    with pytest.raises(Refusal, match="encoder"):
        read({"name": "p_tuning", "encoder": "gru"})
    with pytest.raises(Refusal, match="hidden_size = 8: without an encoder it sets nothing"):
        read({"name": "p_tuning", "encoder": "none", "hidden_size": 8})
    kept = read({"name": "p_tuning", "encoder": "mlp", "hidden_size": 7}).kept()
    assert kept == PTuning(encoder="none")
