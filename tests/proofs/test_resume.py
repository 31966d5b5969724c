import pytest
import torch
from tests.proofs.made import save_checkpoint, session, train

from accorda.methods.additive.p_tuning import PTuning
from accorda.methods.additive.prompt_tuning import PromptTuning
from accorda.methods.reparametrized.lora import LoRA
from accorda.methods.selective.full import Full
from accorda.proofs.resume import Resume, summary
from accorda.training import checkpoint, loop
from accorda.training.loop import Loop
from accorda.training.rng import Generators


def proof_of(made):
    return Resume().prove(made, made.folder.path)


@pytest.mark.parametrize("method", [LoRA(dropout=0.3), Full(), PromptTuning(), PTuning()], ids=repr)
def test_holds_and_disturbs_nothing(tmp_path, method):
    made, plain = session(tmp_path / "a", method), session(tmp_path / "b", method)
    plain.loop.observers = ()
    torch.manual_seed(1)
    train(made, 4, checkpoint_at=2)
    torch.manual_seed(1)
    train(plain, 4, checkpoint_at=2)
    assert summary(made.loop) == summary(plain.loop)
    proof = proof_of(made)
    assert proof.verdict == "holds", proof.reason
    assert proof.evidence["step"] == 2


def test_what_was_for_training_only_is_stepped_in_the_run_itself(tmp_path):
    made = train(session(tmp_path, PTuning()), 3, checkpoint_at=2)
    stored, again = proof_of(made), session(tmp_path, PTuning().kept())
    assert Resume().verify(again, tmp_path, stored) == stored
    assert Resume().verify(again, tmp_path, None).verdict == "not applicable"
    assert Resume().verify(made, tmp_path, None).verdict == "holds"


def test_only_the_first_checkpoint_is_tried(tmp_path):
    made = train(session(tmp_path, LoRA()), 3, checkpoint_at=1)
    save_checkpoint(made)
    assert proof_of(made).evidence["step"] == 1


def test_a_run_without_a_checkpoint_is_tried_at_its_end(tmp_path):
    made = train(session(tmp_path, LoRA()), 3, checkpoint_at=None)
    before = summary(made.loop)
    proof = proof_of(made)
    assert (proof.verdict, proof.evidence["step"]) == ("holds", 3)
    assert summary(made.loop) == before
    assert list(tmp_path.iterdir()) == []


def lose_optimizer(monkeypatch):
    monkeypatch.setattr(loop, "load_states", lambda optimizer, parameters, stored: None)


def forget_optimizer(monkeypatch):
    monkeypatch.setattr(loop, "load_states", lambda optimizer, parameters, stored: optimizer.state.clear())


def save_no_optimizer(monkeypatch):
    monkeypatch.setattr(loop, "states_of", lambda optimizer, parameters: ({}, {}))


def lose_generators(monkeypatch):
    monkeypatch.setattr(Generators, "restore", lambda self: None)


def lose_a_tensor(monkeypatch):
    load = checkpoint.load

    def torn(folder):
        state = load(folder)
        state.tensors.pop(next(iter(state.tensors)))
        return state

    monkeypatch.setattr(checkpoint, "load", torn)


def store_half_precision(monkeypatch):
    save = checkpoint.save

    def rounded(folder, state):
        tensors = {k: t.half().to(t.dtype) if t.is_floating_point() else t for k, t in state.tensors.items()}
        save(folder, checkpoint.State(tensors, state.values))

    monkeypatch.setattr(checkpoint, "save", rounded)


def lose_the_step(monkeypatch):
    load = Loop.load_state

    def ahead(self, state):
        load(self, state)
        self.step_number += 1

    monkeypatch.setattr(Loop, "load_state", ahead)


def test_a_sampler_that_does_not_go_back(tmp_path):
    made = session(tmp_path, LoRA())
    at, calls = made.batches.at, iter(range(100))
    made.batches.at = lambda step: at(next(calls))
    proof = proof_of(train(made, 2, checkpoint_at=2))
    assert proof.verdict == "fails"
    assert "rows" in proof.evidence["differ"]


@pytest.mark.parametrize(
    "fault",
    [
        lose_optimizer,
        forget_optimizer,
        save_no_optimizer,
        lose_generators,
        lose_a_tensor,
        store_half_precision,
        lose_the_step,
    ],
)
def test_faults(tmp_path, monkeypatch, fault):
    fault(monkeypatch)
    proof = proof_of(train(session(tmp_path, LoRA(dropout=0.3)), 2, checkpoint_at=2))
    assert proof.verdict == "fails", proof.reason


def test_what_is_not_restored_is_named(tmp_path, monkeypatch):
    lose_optimizer(monkeypatch)
    proof = proof_of(train(session(tmp_path, LoRA()), 2, checkpoint_at=2))
    assert all(name.startswith("optimizer/") for name in proof.evidence["not_restored"])
    assert proof.reason.startswith("the checkpoint of step 2 does not bring back optimizer/")


def test_generators_are_disturbed_so_that_a_run_without_dropout_shows_them_too(tmp_path, monkeypatch):
    lose_generators(monkeypatch)
    proof = proof_of(train(session(tmp_path, LoRA()), 2, checkpoint_at=2))
    assert proof.evidence["not_restored"] == ["rng (value)", "rng/torch"]  # numpy's drawn words stand in the value


def test_the_loop_goes_on_where_it_was_after_a_broken_restore(tmp_path, monkeypatch):
    made, plain = session(tmp_path / "a", LoRA()), session(tmp_path / "b", LoRA())
    plain.loop.observers = ()
    lose_a_tensor(monkeypatch)
    train(made, 4, checkpoint_at=2)
    train(plain, 4, checkpoint_at=None)
    assert proof_of(made).verdict == "fails"
    assert summary(made.loop) == summary(plain.loop)


def test_verify_goes_back_to_the_last_checkpoint(tmp_path):
    made = train(session(tmp_path, LoRA()), 4, checkpoint_at=2)
    stored, before = proof_of(made), summary(made.loop)
    again = Resume().verify(made, tmp_path, stored)
    assert (again.verdict, again.evidence["step"]) == ("holds", 2)
    assert summary(made.loop) == before
    (tmp_path / "checkpoints" / "step-2" / "state.json").unlink()
    assert Resume().verify(made, tmp_path, stored) == stored
    assert Resume().verify(made, tmp_path, None).verdict == "not applicable"
