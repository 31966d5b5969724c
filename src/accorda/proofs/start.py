"""Does a policy start where its reference is? Before the first step both must say the same of every answer.

Then every implied reward is zero, and the loss is the one of a margin of zero: log 2 for DPO. A reference that is
another model, an adapter that acts from the start, dropout in one of the passes or a pass over other tokens would all
show here.
"""

from pathlib import Path
from typing import Any

import torch

from accorda.data.preferences.batch import PreferenceBatch
from accorda.methods.routing import use
from accorda.proofs.contract import Proof, Prover, check, within
from accorda.proofs.numerics import TOLERANCE, few_rows, in_fp32, largest
from accorda.proofs.packing import batch_of, small_batch
from accorda.runs.files import read_json, write_json
from accorda.training.loop import Loop, Observer
from accorda.training.next_token import next_token_log_probs, sequence_log_probs
from accorda.training.objective import Making
from accorda.training.policy import Policy
from accorda.training.preferring import REFERENCE, Preferring
from accorda.training.session import Session

RECORD = "start.json"


class Start(Prover):
    """Policy and reference agree before the first step, and the loss is that of a margin of zero."""

    name = "start"

    def observers(self, session: Session) -> list[Observer]:
        """One that looks before the first step."""
        return [] if not_asked(session) else [Watch(session)]

    def prove(self, session: Session, folder: Path) -> Proof:
        """On a few rows of the first step, in fp32."""
        found, why = session.notes.get(self.name), not_asked(session)
        if why or found is None:
            return Proof(self.name, "not applicable", why or "no step was watched")
        answers = f"{found['answers']} answers"
        agree = f"before the first step policy and reference agree {within(found['difference'])} on {answers}"
        if "loss" not in found:
            apart = f"before the first step policy and reference differ by up to {found['difference']:.1e} nats"
            checks = [check("reference", found["difference"] <= TOLERANCE, agree, f"{apart} on {answers}")]
            return Proof.of_checks(self.name, checks, agree, tolerance=TOLERANCE, **found)
        apart = (
            f"before the first step policy and reference differ by up to {found['difference']:.1e} nats on {answers}"
        )
        told = f"the loss was {found['loss']:.6f}, that of a margin of zero"
        other = f"the loss was {found['loss']:.6f} before the first step, of a margin of zero it is {found['zero']:.6f}"
        checks = [
            check("reference", found["difference"] <= TOLERANCE, agree, apart),
            check("loss", abs(found["loss"] - found["zero"]) <= TOLERANCE, told, other),
        ]
        return Proof.of_checks(self.name, checks, f"{agree}; {told}", tolerance=TOLERANCE, **found)

    def verify(self, session: Session, folder: Path, stored: Proof | None) -> Proof:
        """What the run itself found: its start cannot be had again."""
        return stored or Proof(self.name, "not applicable", "the run stored nothing about its start")


class Watch(Observer):
    """Keeps what was found in `session.notes["start"]`, and beside the checkpoints for a run that is resumed."""

    def __init__(self, session: Session):
        self.session = session
        self.file = session.folder.checkpoints / RECORD

    def before_first_step(self, loop: Loop) -> None:
        """Look; a resumed run knows what it found at its start."""
        found = read_json(self.file) if loop.step_number else look(self.session)
        if found is not None:
            self.session.notes["start"] = found

    def after_checkpoint(self, loop: Loop, folder: Path) -> None:
        """Store it for the process that may go on from here."""
        if "start" in self.session.notes:
            write_json(self.file, self.session.notes["start"])


def not_asked(session: Session) -> str:
    """Why nothing is to be said of this run's start; empty where something is."""
    objective = session.objective
    compares = isinstance(objective, Preferring) and objective.algorithm.needs_reference
    compares = compares or (isinstance(objective, Policy) and objective.has_reference)
    if not compares:
        return "nothing is compared with a reference"
    assert isinstance(objective, Preferring | Policy)
    if objective.reference == REFERENCE:  # a copy of what goes on from there
        return ""
    moved = [type(method).__name__ for method in session.method if method.traits.identity_at_init != "exact"]
    return f"{', '.join(moved)} changes what the model says from the start" if moved else ""


@torch.no_grad()
def look(session: Session) -> dict[str, Any] | None:
    """Both passes over a small batch, and the loss; `zero` is the loss of answers on which both agree.

    None where a policy's own answers are compared and none of them is better than another.
    """
    objective, model = session.objective, session.model
    if isinstance(objective, Policy):
        return look_at_prompts(session, objective)
    assert isinstance(objective, Preferring)
    if isinstance(session.loop.carried, Making):
        batch = next(iter(session.loop.carried.few()[1]), None)
    else:
        batch = batch_of(session, few_rows([session.train[int(row)] for row in session.batches.rows(0)]))
    if batch is None:
        return None
    assert isinstance(batch, PreferenceBatch)
    with in_fp32(model):
        reference = objective.referred(model, batch)
        assert reference is not None
        policy = sequence_log_probs(model, batch, batch.learned)
        objective.begin(model, [batch])
        loss, zero = (objective.judged(batch, sums, reference).mean() for sums in (policy, reference))
    difference = largest(policy - reference)
    return {"difference": difference, "answers": len(policy), "loss": float(loss), "zero": float(zero)}


@torch.no_grad()
def look_at_prompts(session: Session, objective: Policy) -> dict[str, Any]:
    """Both passes over a few prompts, read as texts: where both agree the distance that is charged for is zero."""
    segments, batch = small_batch(session)
    with in_fp32(session.model):
        policy = next_token_log_probs(session.model, batch)
        with use(session.model, objective.reference):
            reference = next_token_log_probs(session.model, batch)
    return {"difference": largest(policy - reference), "answers": len(segments)}
