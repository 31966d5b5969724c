"""KronA^B_res: KronA^B and a learned share of the input."""

import pytest
import torch
from tests.zoo import batch, make
from transformers import T5Config, T5ForConditionalGeneration

from accorda.errors import Refusal
from accorda.methods.additive.krona_b_res import KronABRes
from accorda.methods.install import freeze, install, own_tensors, trainable
from accorda.methods.routing import use


@torch.no_grad()
def test_beside_the_whole_feed_forward():
    model = install(freeze(make("phi3")), KronABRes(block_shape=(16, 2), scaling=3.0, s_res_init=0.25))
    path = "model.layers.1.mlp.down_proj.0_all"
    own = own_tensors(model, "default")
    A, B = own[f"{path}.beside.A"], own[f"{path}.beside.B"].normal_()
    mlp, x = model.model.layers[1].mlp, torch.randn(2, 3, 32)
    adapted = mlp(x)
    with use(model):
        torch.testing.assert_close(adapted, mlp(x) + 3.0 * x @ torch.kron(A, B) + 0.25 * x)


@torch.no_grad()
def test_starts_as_the_base_unless_the_share_does_not():
    inputs, base = batch("t5"), make("t5")
    before = base(**inputs).logits
    assert torch.equal(install(freeze(make("t5")), KronABRes())(**inputs).logits, before)
    assert not torch.allclose(install(freeze(base), KronABRes(s_res_init=1.0))(**inputs).logits, before, atol=1e-3)


def test_count_on_t5_base():
    """One number per feed-forward more than KronA^B."""
    with torch.device("meta"):
        model = T5ForConditionalGeneration(T5Config(d_model=768, d_ff=3072, num_layers=12, num_heads=12))
    assert KronABRes().num_parameters(model).trained == 24 * (2 * 24 * 32 + 1)
    assert KronABRes(layernorm=True).num_parameters(model).trained == 24 * (2 * 24 * 32 + 1) + 47_616
    assert sum(name.endswith("s_res") for name in trainable(install(freeze(make("t5")), KronABRes()))) == 4


def test_refusals():
    with pytest.raises(Refusal, match=r"mlp\.c_fc \(mlp\.up\) receives 32 features and gives 128"):
        install(make("gpt2"), KronABRes(target_modules="mlp.up"))
    with pytest.raises(Refusal, match=r"method\.block_shape = 3x4 does not divide .*transformer\.h\.0"):
        install(make("gpt2"), KronABRes(block_shape=(3, 4)))
