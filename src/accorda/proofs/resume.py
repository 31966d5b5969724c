"""Is a resumed run the same run? At the first checkpoint: step, restore from the files, step again, compare."""

import hashlib
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from accorda.data.batch import Batch, Segment
from accorda.errors import Refusal
from accorda.proofs.contract import Proof, Prover, names
from accorda.proofs.tensors import checksum
from accorda.training import checkpoint
from accorda.training.loop import Batches, Loop, Observer
from accorda.training.session import Session

TOLD = ("rows", "step", "loss", "learning_rate", "grad_norm", "tokens", "supervised_tokens")


class Resume(Prover):
    """The step after a restored checkpoint is, bit for bit, the step that was made without it."""

    name = "resume"

    def observers(self, session: Session) -> list[Observer]:
        """One that tries it at the first checkpoint and puts the loop back."""
        return [Trial(session)]

    def prove(self, session: Session, folder: Path) -> Proof:
        """What the trial found; a run that ended before its first checkpoint is tried at its end."""
        stored = session.notes.get(self.name)
        if stored is None:
            return try_here(session.loop, folder)
        return Proof.from_dict(stored)

    def verify(self, session: Session, folder: Path, stored: Proof | None) -> Proof:
        """Once more, from the last checkpoint in the folder."""
        found = checkpoint.latest(Path(folder) / "checkpoints")
        if found is None:
            return stored or Proof(self.name, "not applicable", "the folder holds no checkpoint")
        tensors = found[1].part("parameters").tensors
        if tensors.keys() != session.loop.parameters().keys() and _drops(session):
            reason = "what was for training only was not saved: nothing but `accorda resume` goes on from a checkpoint"
            return stored or Proof(self.name, "not applicable", reason)
        kept = session.loop.state()
        try:
            session.loop.load_state(found[1])
            return try_at(session.loop, found[0])
        finally:
            session.loop.load_state(kept)


def _drops(session: Session) -> bool:
    """Whether the run's method trains what its result does not hold."""
    return any(method.traits.training_only_part for method in session.method)


class Trial(Observer):
    """Runs once, at the first checkpoint this process writes."""

    def __init__(self, session: Session):
        self.session = session

    def after_checkpoint(self, loop: Loop, folder: Path) -> None:
        """Step, restore, step, compare, and put the loop back where it was."""
        if "resume" not in self.session.notes:
            self.session.notes["resume"] = try_at(loop, folder).to_dict()


def try_here(loop: Loop, folder: Path) -> Proof:
    """The trial with a checkpoint of the loop as it stands, written for it and deleted."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".resume-") as place:
        checkpoint.save(Path(place) / "step-0", loop.state(copy=False))
        return try_at(loop, Path(place) / "step-0")


def try_at(loop: Loop, folder: Path) -> Proof:
    """The trial: `folder` holds the checkpoint that was just written of this loop."""
    before, known, observers, batches = loop.state(), summary(loop), loop.observers, loop.batches
    loop.observers, loop.batches = (), (short := _Short(batches))
    try:
        first, after_first = _step(loop, short)
        fault = _restore(loop, folder)
        restored = _difference(known, summary(loop))
        second, after_second = _step(loop, short) if not fault else ({}, {})
    finally:
        loop.observers, loop.batches = observers, batches
        loop.load_state(before)
    evidence = {"step": before.values["step"], "tensors": len(before.tensors)}
    if fault:
        return Proof("resume", "fails", f"the checkpoint cannot be restored: {fault}", evidence)
    if restored:
        reason = f"the checkpoint of step {evidence['step']} does not bring back {names(restored, 3)}"
        return Proof("resume", "fails", reason, evidence | {"not_restored": restored})
    told = [key for key in TOLD if first.get(key) != second.get(key)]
    differ = told + _difference(after_first, after_second)
    if differ:
        reason = f"the step after restoring is another one than the step before: {names(differ, 3)}"
        return Proof("resume", "fails", reason, evidence | {"differ": differ})
    reason = f"step {first['step']} made, undone from the files of step {evidence['step']} and made again: bit for bit"
    return Proof("resume", "holds", reason, evidence | {"loss": first["loss"]})


class _Short:
    """The shortest micro-batch of every step, so that two steps cost little; and which rows the whole step has."""

    def __init__(self, batches: Batches):
        self.batches = batches
        self.dataset = batches.dataset
        self.rows: list[tuple[int, ...]] = []

    def at(self, step: int) -> Sequence[Batch]:
        found = list(self.batches.at(step))
        self.rows = [batch.rows for batch in found]
        counted = [batch for batch in found if batch.num_supervised]  # a value model's own pass counts no token twice
        return [min(counted, key=lambda batch: batch.num_tokens)] if counted else found

    def together(self, segments: Sequence[Segment]) -> Batch:
        return self.batches.together(segments)


def _step(loop: Loop, batches: _Short) -> tuple[dict[str, Any], dict[str, str]]:
    event = loop.step()
    return event | {"rows": batches.rows}, summary(loop)


def _restore(loop: Loop, folder: Path) -> str | None:
    """Load the checkpoint after everything that is not in it was disturbed; what went wrong, if anything did."""
    _draw()
    try:
        loop.load_state(checkpoint.load(folder))
    except (Refusal, ValueError, KeyError, RuntimeError) as error:
        return str(error) or repr(error)
    return None


def _draw() -> None:
    """Move every generator on: a step without dropout leaves them where they are."""
    random.random()
    np.random.rand()
    for device in ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]:
        torch.rand(1, device=device)


def summary(loop: Loop) -> dict[str, str]:
    """A checksum of everything the loop says it depends on, by name."""
    state = loop.state(copy=False)
    found = {f"{name} (value)": _digest(value) for name, value in state.values.items()}
    for name, tensor in state.tensors.items():
        found[name] = checksum(tensor)
        state.let_go(tensor)
    return found


def _digest(value: Any) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()


def _difference(one: dict[str, str], other: dict[str, str]) -> list[str]:
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
