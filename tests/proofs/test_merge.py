import pytest
import torch
from tests.proofs.made import session, train

from accorda.methods.additive.prompt_tuning import PromptTuning
from accorda.methods.install import install
from accorda.methods.merging import merge
from accorda.methods.reparametrized.lora import LoRA, LoRAAdapter
from accorda.methods.selective.bitfit import BitFit
from accorda.methods.selective.full import Full
from accorda.methods.selective.layernorm import LayerNorm
from accorda.methods.selective.rows import Rows
from accorda.methods.side.attention_fusion import AttentionFusion
from accorda.proofs.merge import Merge
from accorda.proofs.numerics import alone
from accorda.training.precision import Precision

QUERY_VALUE = LoRA(target_modules=("attention.query", "attention.value"))


def proof_of(made):
    return Merge().prove(made, made.folder.path)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gpt_neox", "phi3", "falcon_new"])
@pytest.mark.parametrize("method", [LoRA(), QUERY_VALUE, (LoRA(), LayerNorm())], ids=repr)
def test_holds(tmp_path, architecture, method):
    proof = proof_of(train(session(tmp_path, method, architecture), 2, None))
    assert proof.verdict == "holds", proof.reason


ENTRIES = Rows(target_modules=("embedding", "mlp.up"), choose="norm", num_rows=3)


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
@pytest.mark.parametrize(("method", "modules"), [(ENTRIES, 0), ((LoRA(), ENTRIES), 1)], ids=["alone", "with LoRA"])
def test_trained_entries_are_merged_too(tmp_path, architecture, method, modules):
    made = train(session(tmp_path, method, architecture), 2, None)
    proof = proof_of(made)
    assert proof.verdict == "holds", proof.reason
    assert (proof.evidence["tensors"], bool(proof.evidence["modules"])) == (3, bool(modules))
    segments = [made.train[0], made.train[1]]
    with torch.no_grad():
        unmerged = alone(made.model.eval(), segments)
        torch.testing.assert_close(alone(merge(made.model), segments), unmerged, atol=1e-5, rtol=0)


def test_says_what_merging_really_says(tmp_path):
    made = train(session(tmp_path, LoRA(rank=2)), 2, None)
    segments = [made.train[0], made.train[1]]
    before = {name: p.clone() for name, p in made.model.named_parameters()}
    assert proof_of(made).verdict == "holds"
    assert all(torch.equal(before[name], p) for name, p in made.model.named_parameters())
    made.model.eval()
    with torch.no_grad():
        unmerged = alone(made.model, segments)
        torch.testing.assert_close(alone(merge(made.model), segments), unmerged, atol=1e-5, rtol=0)


def test_quantized_base_is_named(tmp_path):
    proof = proof_of(train(session(tmp_path, LoRA(), quantization="int8"), 2, None))
    assert proof.verdict == "holds", proof.reason
    assert proof.evidence["base"] == "the dequantized base"


def test_rounding_is_told_apart_from_a_wrong_merge(tmp_path):
    made = session(tmp_path, LoRA(), dtype=torch.bfloat16, precision=Precision("bf16"))
    proof = proof_of(train(made, 2, None))
    assert proof.verdict == "holds", proof.reason
    told = proof.evidence["difference_rounded"]
    assert told["dtype"] == "bfloat16"
    assert told["difference"] > 1e-4 > proof.evidence["difference"]


def test_wrong_scale(tmp_path, monkeypatch):
    right = LoRAAdapter.merged
    monkeypatch.setattr(LoRAAdapter, "merged", lambda self, base: (2 * right(self, base)[0] - base.weight, base.bias))
    assert proof_of(train(session(tmp_path, LoRA()), 2, None)).verdict == "fails"


@pytest.mark.parametrize(
    ("method", "why"),
    [
        (PromptTuning(), "PromptTuning cannot be written"),
        (AttentionFusion(), "AttentionFusion cannot be written"),
        (BitFit(), "have no place"),
        (Full(), "stands in the base's own tensors"),
        (LayerNorm(), "stands in the base's own tensors"),
    ],
    ids=lambda value: repr(value)[:12],
)
def test_not_applicable(tmp_path, method, why):
    proof = proof_of(train(session(tmp_path, method), 1, None))
    assert proof.verdict == "not applicable"
    assert why in proof.reason


def test_two_adapters_are_no_one_adapter(tmp_path):
    made = train(session(tmp_path, LoRA()), 1, None)
    install(made.model, LoRA(), "second")
    assert "2 adapters act" in proof_of(made).reason
