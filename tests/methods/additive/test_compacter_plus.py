"""Compacter++ is Compacter without the adapters after attention."""

import torch
from tests.zoo import batch, make
from transformers import T5Config, T5ForConditionalGeneration

from accorda.methods.additive.compacter import Compacter
from accorda.methods.additive.compacter_plus import CompacterPlus
from accorda.methods.install import freeze, install, own_tensors


def test_count_of_the_paper():
    """T5-base, table 1: 24 adapters of 2,376, a rule of 4^3, 47,616 of norms; 0.047% with them."""
    with torch.device("meta"):
        model = T5ForConditionalGeneration(T5Config(d_model=768, d_ff=3072, num_layers=12, num_heads=12))
    assert CompacterPlus(layernorm=False).num_parameters(model).trained == 24 * 2_376 + 64 == 57_088
    assert CompacterPlus().num_parameters(model).trained == 57_088 + 47_616
    assert round(100 * (57_088 + 47_616) / 222_903_552, 3) == 0.047


@torch.no_grad()
def test_computes_what_compacter_computes_after_feed_forwards():
    plus, whole = CompacterPlus(init_std=0.5), Compacter(init_std=0.5, target_modules="mlp.down")
    said = []
    for method in (plus, whole):
        torch.manual_seed(0)
        said.append(install(freeze(make("t5")), method)(**batch("t5")).logits)
    assert torch.equal(*said)
    assert not torch.allclose(said[0], make("t5")(**batch("t5")).logits, atol=1e-3)


def test_stands_after_every_feed_forward():
    own = own_tensors(install(freeze(make("t5")), CompacterPlus(layernorm=False)), "default")
    paths = {name.partition(".0_all")[0] for name in own if "0_all" in name}
    assert len(paths) == 2 + 2
    assert all(path.endswith("DenseReluDense.wo") for path in paths)
