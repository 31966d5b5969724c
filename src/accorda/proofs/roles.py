"""Do the roles that share one base leave each other alone? Frozen ones are looked at after every phase.

While a policy learns, the reference it is held near and whoever judges it must stay what they were: a role that drifts
along makes every distance and every reward mean something else. What is compared is a sum of all bytes, phase by phase.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from accorda.proofs.contract import Proof, Prover, names
from accorda.proofs.movement import split
from accorda.runs.files import read_json, write_json
from accorda.training.loop import Loop, Observer
from accorda.training.objective import Making
from accorda.training.session import Session

RECORD = "roles.json"
LISTED = 50


class Roles(Prover):
    """Base, reference and reward model had the same bytes after every phase of a policy's training."""

    name = "roles"

    def observers(self, session: Session) -> list[Observer]:
        """One that looks at the first step of every phase, before anything moves."""
        return [Watch(session)] if isinstance(session.loop.carried, Making) else []

    def prove(self, session: Session, folder: Path) -> Proof:
        """What was found on the way, and once more at the end."""
        found = session.notes.get(self.name)
        if found is None:
            return Proof(self.name, "not applicable", "no policy was in training, so nothing had roles")
        changed = found["changed"] + apart(found["start"], sums(session), "the last step")
        evidence = {"phases": found["phases"], "tensors": len(found["start"]), "changed": changed[:LISTED]}
        if changed:
            return Proof(self.name, "fails", f"a frozen role changed: {names(changed, 3)}", evidence)
        looked = f"{found['phases']} phases and at the end"
        reason = f"{len(found['start'])} tensors of base, reference and reward had the same bytes after {looked}"
        return Proof(self.name, "holds", reason, evidence)

    def verify(self, session: Session, folder: Path, stored: Proof | None) -> Proof:
        """What the run itself found: its phases cannot be had again."""
        return stored or Proof(self.name, "not applicable", "the run stored nothing about its roles")


class Watch(Observer):
    """Keeps what was found in `session.notes["roles"]`, and beside the checkpoints for a run that is resumed."""

    def __init__(self, session: Session):
        self.session = session
        self.file = session.folder.checkpoints / RECORD
        self.phase: int | None = None

    def before_first_step(self, loop: Loop) -> None:
        """Add up; a resumed run keeps the sums of its start."""
        stored = read_json(self.file) if loop.step_number else None
        self.found: dict[str, Any] = stored or {"start": sums(self.session), "phases": 0, "changed": []}
        self.session.notes["roles"] = self.found

    def after_backward(self, loop: Loop, step: int) -> None:
        """Look once a phase: when it has answered and judged, and the step before it has moved the policy."""
        if isinstance(loop.carried, Making) and loop.carried.phase != self.phase:
            self.phase = loop.carried.phase
            self.found["phases"] += 1
            self.found["changed"] += apart(self.found["start"], sums(self.session), f"step {step}")

    def after_checkpoint(self, loop: Loop, folder: Path) -> None:
        """Store what was seen, for the process that may go on from here."""
        write_json(self.file, self.found)


def sums(session: Session) -> dict[str, int]:
    """A sum of the bytes of every frozen tensor: of the model, and of who judges."""
    making = session.loop.carried
    beside = making.frozen() if isinstance(making, Making) else {}
    frozen = split(session)[1] | {f"reward: {name}": tensor for name, tensor in beside.items()}
    return {name: byte_sum(tensor) for name, tensor in frozen.items()}


def byte_sum(tensor: Tensor) -> int:
    """All bytes of a tensor added up as whole numbers: fast, and no single change leaves it as it was."""
    flat = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
    whole = flat.numel() // 4 * 4
    words = flat[:whole].view(torch.int32).sum(dtype=torch.int64)
    return int(words) + int(flat[whole:].sum(dtype=torch.int64))


def apart(before: dict[str, int], now: dict[str, int], when: str) -> list[str]:
    """The names of tensors that are no longer what they were, with when it was seen."""
    return [f"{name} (at {when})" for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name)]
