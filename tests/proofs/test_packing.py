import dataclasses

import pytest
import torch
from tests.proofs.made import session, train

import accorda.proofs.packing as packing
from accorda.methods.additive.prompt_tuning import PromptTuning
from accorda.methods.reparametrized.lora import LoRA
from accorda.methods.side.attention_fusion import AttentionFusion
from accorda.models.attention import Packing
from accorda.proofs.packing import Packing as Proof


def proof_of(made):
    return Proof().prove(made, made.folder.path)


@pytest.mark.parametrize("architecture", ["llama", "mistral", "gemma2", "gpt2", "falcon_alibi"])
@pytest.mark.parametrize("packed", [True, False])
def test_holds(tmp_path, architecture, packed):
    packed = packed and "falcon" not in architecture
    made = train(session(tmp_path, LoRA(), architecture, packed=packed), 2, None)
    proof = proof_of(made)
    assert proof.verdict == "holds", proof.reason
    assert proof.evidence["how"] == ("packed end to end" if packed else "padded side by side")
    assert len(proof.evidence["rows"]) == 4


@pytest.mark.parametrize("method", [PromptTuning(), AttentionFusion()], ids=repr)
def test_holds_for_methods_outside_the_blocks(tmp_path, method):
    assert proof_of(train(session(tmp_path, method), 2, None)).verdict == "holds"


def test_compares_in_fp32(tmp_path):
    proof = proof_of(train(session(tmp_path, LoRA(), dtype=torch.bfloat16), 2, None))
    assert proof.verdict == "holds", proof.reason


def changed(monkeypatch, change):
    make = packing.batch_of
    monkeypatch.setattr(packing, "batch_of", lambda session, segments: change(make(session, segments)))


def test_a_leak_between_rows(tmp_path, monkeypatch):
    made = session(tmp_path, LoRA())
    changed(monkeypatch, lambda b: dataclasses.replace(b, packing=Packing((0, b.num_tokens))))
    proof = proof_of(made)
    assert proof.verdict == "fails"
    assert proof.reason.endswith("they see each other")


def test_positions_that_run_on(tmp_path, monkeypatch):
    made = session(tmp_path, LoRA(), "gpt2")
    changed(monkeypatch, lambda b: dataclasses.replace(b, position_ids=torch.arange(b.num_tokens)[None]))
    assert proof_of(made).verdict == "fails"


def test_padding_that_is_seen(tmp_path, monkeypatch):
    made = session(tmp_path, LoRA(), packed=False)
    changed(monkeypatch, lambda b: dataclasses.replace(b, input_ids=b.input_ids.flip(1), labels=b.labels.flip(1)))
    assert proof_of(made).verdict == "fails"


def test_a_lost_target(tmp_path, monkeypatch):
    made = session(tmp_path, LoRA())

    def lose(batch):
        labels = batch.labels.clone()
        labels[0, -1] = -100
        return dataclasses.replace(batch, labels=labels)

    changed(monkeypatch, lose)
    assert "targets in their batch" in proof_of(made).reason


def test_one_row(tmp_path):
    made = session(tmp_path, LoRA())
    made.batches.rows = lambda step: [0]
    assert proof_of(made).verdict == "not applicable"
