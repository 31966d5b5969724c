import functools

import pytest
import torch
from tests.proofs.made import session, train

from accorda.methods import checkpointing
from accorda.methods.additive.prompt_tuning import PromptTuning
from accorda.methods.reparametrized.lora import LoRA
from accorda.methods.selective.full import Full
from accorda.methods.side.attention_fusion import AttentionFusion
from accorda.proofs.gradient import Gradient
from accorda.training.precision import Precision


def proof_of(made):
    return Gradient().prove(made, made.folder.path)


def verdicts(proof):
    return {entry["name"]: entry["verdict"] for entry in proof.evidence["checks"]}


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("method", [LoRA(dropout=0.5), Full(), PromptTuning(), AttentionFusion()], ids=repr)
def test_holds_packed_padded_and_with_dropout(tmp_path, method, packed):
    made = train(session(tmp_path, method, packed=packed), 2, None)
    assert verdicts(proof_of(made)) == {"accumulated": "holds", "recomputed under its own route": "not applicable"}


@pytest.mark.parametrize("architecture", ["gemma2", "gpt2", "falcon_alibi"])
def test_holds_with_recomputed_blocks(tmp_path, architecture):
    made = train(session(tmp_path, LoRA(), architecture, checkpointing=True), 2, None)
    assert set(verdicts(proof_of(made)).values()) == {"holds"}


def test_compares_in_fp32_whatever_the_run_computes_in(tmp_path):
    made = train(session(tmp_path, LoRA(), dtype=torch.bfloat16, precision=Precision("bf16")), 2, None)
    assert proof_of(made).verdict == "holds"


def test_the_loop_is_left_as_it_was(tmp_path):
    made = train(session(tmp_path, LoRA(), checkpointing=True), 2, None)
    other = train(session(tmp_path / "b", LoRA(), checkpointing=True), 2, None)
    proof_of(made)
    assert all(p.grad is None for p in made.loop.parameters().values())
    assert made.loop.step()["loss"] == other.loop.step()["loss"]
    ours, theirs = made.loop.parameters(), other.loop.parameters()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert any(getattr(module, "gradient_checkpointing", False) for module in made.model.modules())


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_wrong_scale(tmp_path, factor):
    made = train(session(tmp_path, LoRA()), 2, None)
    made.loop.objective = lambda model, batch: factor * made.objective(model, batch)
    proof = proof_of(made)
    assert proof.verdict == "fails"
    assert f"{factor:.3f} times as long" in proof.reason


def test_each_micro_batch_divided_by_its_own_tokens(tmp_path):
    made = train(session(tmp_path, LoRA()), 2, None)
    made.loop.objective = lambda model, batch: made.objective(model, batch) / batch.num_supervised
    assert proof_of(made).verdict == "fails"


def test_labels_shifted_by_one(tmp_path):
    made = train(session(tmp_path, LoRA()), 2, None)

    def shifted(model, batch):
        from dataclasses import replace

        return made.objective(model, replace(batch, labels=batch.labels.roll(1, dims=1).clamp(min=-100)))

    made.loop.objective = shifted
    assert proof_of(made).verdict == "fails"


def test_block_recomputed_under_another_route(tmp_path, monkeypatch):
    from contextlib import nullcontext

    monkeypatch.setattr(checkpointing, "_contexts", lambda state: (nullcontext(), nullcontext()))
    made = train(session(tmp_path, LoRA(), checkpointing=True), 2, None)
    proof = Gradient().prove(made, tmp_path)
    assert proof.verdict == "fails"
    assert verdicts(proof)["accumulated"] == "holds"


def test_one_row(tmp_path):
    made = session(tmp_path, LoRA())
    made.batches.rows = functools.partial(lambda step: [0])
    assert proof_of(made).verdict == "not applicable"
