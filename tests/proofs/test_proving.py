import json

import pytest
import torch
from tests.proofs.made import save, session, train

from accorda import proofs
from accorda.errors import Refusal, Stopped
from accorda.methods.reparametrized.lora import LoRA
from accorda.proofs import standalone
from accorda.proofs.coverage import Coverage
from accorda.proofs.registry import ORDER, provers
from accorda.runs.events import EventLog
from accorda.training.precision import Precision


def finished(folder, **given):
    """A run that stands complete in its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    made = session(folder, LoRA(), **given)
    log = EventLog(made.folder.events)
    step = made.loop.step

    def logged():
        event = step()
        log.append(event)
        return event

    made.loop.step = logged
    train(made, 4, checkpoint_at=2)
    made.loop.step = step
    log.close()
    made.folder.recipe.write_text("stage: sft\n")
    found = proofs.prove(save(made))
    result = {"steps": 4, "proofs": {proof.name: proof.verdict for proof in found}}
    made.folder.result.write_text(json.dumps(result))
    return made, found


def test_every_file_with_a_prover_is_found_in_reading_order():
    assert tuple(provers()) == ORDER


@pytest.mark.parametrize("given", [{}, {"dtype": torch.bfloat16, "precision": Precision("bf16")}], ids=["fp32", "bf16"])
def test_a_whole_run_is_proven_and_proven_again(tmp_path, given):
    made, found = finished(tmp_path / "run", **given)
    other = {proof.name: proof.verdict for proof in found if proof.verdict != "holds"}
    assert other == dict.fromkeys(("mask", "start", "roles"), "not applicable")
    stored = json.loads(made.folder.proof.read_text())
    assert [entry["name"] for entry in stored["proofs"]] == list(ORDER)
    assert set(stored) == {"proofs", "seconds", "share"}
    assert 0 < stored["share"] < 1
    again = proofs.verify(made.folder.path, reopen=lambda folder: made)
    assert {proof.name: proof.verdict for proof in again} == {proof.name: proof.verdict for proof in found}
    assert [text for holds, text in standalone.verify(made.folder.path) if not holds] == []


@pytest.mark.parametrize("content", ["{", "[]", '{"proofs": [5]}', '{"proofs": 5}', "{}"])
def test_proofs_that_no_run_writes_are_refused(content, tmp_path):
    made, _ = finished(tmp_path / "run")
    made.folder.proof.write_text(content, encoding="utf-8")
    with pytest.raises(Refusal, match=r"proof\.json: not as a run writes it"):
        proofs.verify(made.folder.path, reopen=lambda folder: made)


def test_proving_leaves_the_run_as_it_was(tmp_path):
    made, _ = finished(tmp_path / "a")
    plain = session(tmp_path / "b", LoRA())
    plain.loop.observers = ()
    train(plain, 4, checkpoint_at=2)
    ours, theirs = made.loop.parameters(), plain.loop.parameters()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert made.loop.step()["loss"] == plain.loop.step()["loss"]


def test_a_proof_that_cannot_be_computed_fails(tmp_path, monkeypatch):
    def broken(self, session, folder):
        raise ZeroDivisionError("one by none")

    monkeypatch.setattr(Coverage, "prove", broken)
    made, found = finished(tmp_path / "run")
    told = next(proof for proof in found if proof.name == "coverage")
    assert (told.verdict, told.reason) == ("fails", "it could not be computed: ZeroDivisionError('one by none')")
    assert made.folder.verify.is_file()


def test_a_lack_of_memory_is_no_verdict(tmp_path, monkeypatch):
    def full(self, session, folder):
        raise torch.OutOfMemoryError("2 GB")

    monkeypatch.setattr(Coverage, "prove", full)
    _, found = finished(tmp_path / "run")
    told = next(proof for proof in found if proof.name == "coverage")
    assert told.verdict == "not applicable"


def test_a_stop_is_no_failed_proof(tmp_path, monkeypatch):
    def stopped(self, session, folder):
        raise Stopped("stopped by SIGTERM", str(folder))

    monkeypatch.setattr(Coverage, "prove", stopped)
    with pytest.raises(Stopped):
        finished(tmp_path / "run")


def test_verify_refuses_what_is_no_run(tmp_path):
    with pytest.raises(Refusal, match="no such folder"):
        proofs.verify(tmp_path / "nothing")
    (tmp_path / "recipe.yaml").write_text("stage: sft\n")
    with pytest.raises(Refusal, match="not complete; continue it with: accorda resume"):
        proofs.verify(tmp_path, reopen=lambda folder: None)


def test_what_a_run_has_itself_is_refused(tmp_path):
    made, _ = finished(tmp_path / "run")
    for given in ({"base": "m"}, {"data": "rows.jsonl"}):
        with pytest.raises(Refusal, match="has its own; leave it out"):
            proofs.verify(made.folder.path, reopen=lambda folder: made, **given)


def test_a_run_without_its_stages_is_looked_at_as_a_folder(tmp_path):
    made, _ = finished(tmp_path / "run")
    found = {proof.name: proof.verdict for proof in proofs.verify(made.folder.path)}
    assert found["movement"] == "holds"
    assert found["coverage"] == "not applicable"
