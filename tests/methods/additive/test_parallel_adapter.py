"""The parallel adapter against its formula written out, its count, and what is refused."""

import pytest
import torch
from tests.zoo import make
from transformers import BertConfig, BertForMaskedLM

from accorda.errors import Refusal
from accorda.methods.additive.parallel_adapter import ParallelAdapter
from accorda.methods.install import freeze, install, own_tensors, trainable
from accorda.methods.routing import use


def filled(model):
    own = own_tensors(model, "default")
    with torch.no_grad():
        for name, tensor in own.items():
            if "scaling" not in name:
                tensor.normal_(std=0.5)
    return own


def beside(x, own, path, scaling):
    """What is added: s (W_up relu(W_down x + b_down) + b_up) for one vector (D,), entry by entry."""
    down, up = (own[f"{path}.0_all.bottleneck.{part}.weight"] for part in ("down", "up"))
    down_bias, up_bias = (own[f"{path}.0_all.bottleneck.{part}.bias"] for part in ("down", "up"))
    inner = [max(0.0, float(down_bias[m] + sum(down[m, i] * x[i] for i in range(len(x))))) for m in range(len(down))]
    return torch.stack(
        [scaling * (up_bias[o] + sum(up[o, m] * inner[m] for m in range(len(down)))) for o in range(len(up))]
    )


@torch.no_grad()
@pytest.mark.parametrize("learned", [False, True])
def test_beside_the_whole_feed_forward(learned):
    method = ParallelAdapter(reduction_factor=8, scaling=3.0, learn_scaling=learned)
    model = install(freeze(make("phi3")), method)
    own, path = filled(model), "model.layers.1.mlp.down_proj"
    if learned:
        own[f"{path}.0_all.scaling"].fill_(-1.5)
    mlp, x = model.model.layers[1].mlp, torch.randn(1, 2, 32)
    added = torch.stack([beside(x[0, token], own, path, -1.5 if learned else 3.0) for token in range(2)])
    adapted = mlp(x)
    with use(model):
        torch.testing.assert_close(adapted, mlp(x) + added[None])


@torch.no_grad()
def test_beside_attention_it_reads_what_the_query_receives():
    model = install(freeze(make("gpt2")), ParallelAdapter(reduction_factor=8, target_modules="attention.output"))
    own, path = filled(model), "transformer.h.0.attn.c_proj"
    attention = model.transformer.h[0].attn
    x, z = torch.randn(1, 2, 32), torch.randn(1, 2, 32)
    attention.c_attn(x)
    added = torch.stack([beside(x[0, token], own, path, 4.0) for token in range(2)])
    torch.testing.assert_close(attention.c_proj(z), z @ attention.c_proj.weight + attention.c_proj.bias + added[None])


def test_count_and_the_learned_factor():
    """L (2 D M + D + M), one more per block where s is learned."""
    with torch.device("meta"):
        model = BertForMaskedLM(BertConfig())
    per_block = 2 * 768 * 384 + 768 + 384
    assert ParallelAdapter().num_parameters(model).trained == 12 * per_block
    assert ParallelAdapter(learn_scaling=True).num_parameters(model).trained == 12 * (per_block + 1)


def test_only_a_learned_factor_trains():
    for learned in (False, True):
        model = install(freeze(make("llama")), ParallelAdapter(learn_scaling=learned))
        assert any(name.endswith("scaling") for name in trainable(model)) == learned


def test_start_and_refusal():
    own = own_tensors(install(freeze(make("gpt2")), ParallelAdapter()), "default")
    down = torch.cat([tensor.flatten() for name, tensor in own.items() if name.endswith("down.weight")])
    assert 0.9 * 32**-0.5 < down.abs().max() <= 32**-0.5
    assert not any(tensor.any() for name, tensor in own.items() if not name.endswith("down.weight"))
    with pytest.raises(Refusal, match=r"parallel_adapter acts on linear layers, and .*wte"):
        install(make("gpt2"), ParallelAdapter(target_modules="embedding"))
