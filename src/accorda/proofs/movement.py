"""Did everything move that should, and nothing else?

Watched: every trainable tensor must once have a finite gradient that is not zero (weight decay alone also moves
tensors), and must differ from its start in the end. The bytes of everything else are the same before and after.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from accorda.methods.install import kept_tensors
from accorda.methods.routing import acting
from accorda.proofs.contract import Check, Proof, Prover, check, names
from accorda.proofs.rest import declared_rest
from accorda.proofs.tensors import checksum
from accorda.runs.files import read_json, write_json
from accorda.training.loop import Loop, Observer
from accorda.training.session import Session

RECORD = "movement.json"


class Movement(Prover):
    """The trainable tensors learned, the frozen ones are untouched."""

    name = "movement"

    def observers(self, session: Session) -> list[Observer]:
        """One that takes checksums before the first step and notes when each gradient first showed."""
        return [Watch(session)]

    def prove(self, session: Session, folder: Path) -> Proof:
        """Compare the live tensors with the checksums taken before the first step."""
        record = session.notes.get(self.name)
        if record is None:
            return Proof(self.name, "not applicable", "no step was watched")
        trained, frozen = split(session)
        now = {name: checksum(tensor) for name, tensor in (trained | frozen).items()}
        waiting = waited(record, trained, session.loop.step_number)
        resting = declared_rest(session) | waiting
        still = f", {len(waiting)} had no turn yet" if waiting else ""
        checks = [
            _moved(record, {name: now[name] for name in trained}, resting),
            _untouched(record["frozen"], {name: now[name] for name in frozen}),
        ]
        return Proof.of_checks(
            self.name,
            checks,
            f"{len(trained) - len(waiting)} trainable tensors moved by their gradients{still}, "
            f"{len(frozen)} frozen ones unchanged",
            first_gradient=record["first_gradient"],
            at_rest={name: reason for name, reason in resting.items() if name not in record["first_gradient"]},
            trained={name: now[name] for name in trained},
            frozen={name: now[name] for name in frozen},
            kept=_sums(kept_in_place(session)),
        )

    def verify(self, session: Session, folder: Path, stored: Proof | None) -> Proof:
        """Gradients cannot be had again: the tensors of the files against the checksums the run stored."""
        if stored is None or "frozen" not in stored.evidence:
            return Proof(self.name, "not applicable", "the run stored no checksums to compare with")
        trained, frozen = split(session)
        told: dict[str, str] = stored.evidence["frozen"]
        if session.folder.model.is_dir():  # it holds the trained values only; the base's were kept beside them
            told = {name: entry for name, entry in told.items() if ".originals." not in name}
            frozen = {name: tensor for name, tensor in frozen.items() if ".originals." not in name}
        learned: dict[str, str] = stored.evidence["trained"]
        if kept := stored.evidence.get("kept"):  # what was for training only is gone, and what it gave is here
            trained = {name: tensor for name, tensor in trained.items() if name in learned}
            learned = {name: entry for name, entry in learned.items() if name in trained} | kept
            trained |= {name: tensor for name, tensor in saved(session).items() if name in kept}
        checks = [
            check("as the run told", stored.verdict == "holds", "the run itself found it to hold", stored.reason),
            _same("trained tensors", learned, _sums(trained)),
            _same("frozen tensors", told, _sums(frozen)),
        ]
        holds = f"{len(trained)} trained and {len(frozen)} frozen tensors are those whose checksums the run stored"
        return Proof.of_checks(self.name, checks, holds)


class Watch(Observer):
    """Keeps, in `session.notes["movement"]` and beside the checkpoints, what a resumed run must still know."""

    def __init__(self, session: Session):
        self.session = session
        self.file = session.folder.checkpoints / RECORD
        self.waiting: dict[str, torch.nn.Parameter] = {}

    def before_first_step(self, loop: Loop) -> None:
        """Take the checksums; a resumed run keeps those of its start."""
        stored = read_json(self.file) if loop.step_number else None
        self.record = stored or self._begin()
        self.session.notes["movement"] = self.record
        seen = self.record["first_gradient"]
        self.waiting = {name: p for name, p in loop.parameters().items() if name not in seen}

    def after_backward(self, loop: Loop, step: int) -> None:
        """Note which tensors have their first gradient that is finite and not zero."""
        here = {name: p.grad for name, p in self.waiting.items() if p.grad is not None}
        if not here:
            return
        norms = torch.stack([gradient.norm() for gradient in here.values()])
        for name, norm in zip(here, norms.tolist(), strict=True):
            if 0 < norm < float("inf"):
                self.record["first_gradient"][name] = step
                del self.waiting[name]

    def after_checkpoint(self, loop: Loop, folder: Path) -> None:
        """Store what was seen, for the process that may go on from here."""
        write_json(self.file, self.record)

    def _begin(self) -> dict[str, Any]:
        trained, frozen = split(self.session)
        return {"start": _sums(trained), "frozen": _sums(frozen), "first_gradient": {}}


def split(session: Session) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The tensors the optimizer moves, and all others of the model: parameters and stored buffers."""
    trained = dict(session.loop.parameters())
    moving = {id(tensor) for tensor in trained.values()}
    state = session.model.state_dict(keep_vars=True)
    frozen = {name: t for name, t in state.items() if isinstance(t, Tensor) and id(t) not in moving}
    return dict(trained), frozen


def waited(record: dict[str, Any], trained: Mapping[str, Tensor], num_steps: int) -> dict[str, str]:
    """Of a run of one step, the tensors without a gradient beside one that had one, each with the reason.

    A factor of a product whose other factor starts at zero has no gradient before that one has moved.
    """
    if num_steps != 1:
        return {}
    seen = {name.rpartition(".")[0] for name in record["first_gradient"]}
    why = "the run has one step, and no gradient comes here before what it is multiplied with has left zero"
    return {name: why for name in trained if name.rpartition(".")[0] in seen and name not in record["first_gradient"]}


def saved(session: Session) -> dict[str, Tensor]:
    """What the files of the session's acting adapters hold, under names without the adapter's own."""
    return {name: t for adapter in acting(session.model) for name, t in kept_tensors(session.model, adapter).items()}


def kept_in_place(session: Session) -> dict[str, Tensor]:
    """What is saved in place of what is for training only; nothing where what trains is saved."""
    return saved(session) if any(method.kept() != method for method in session.method) else {}


def _sums(tensors: dict[str, Tensor]) -> dict[str, str]:
    return {name: checksum(tensor) for name, tensor in tensors.items()}


def _moved(record: dict[str, Any], now: dict[str, str], resting: dict[str, str]) -> Check:
    seen, start = record["first_gradient"], record["start"]
    never = [name for name in now if name not in seen and name not in resting]
    still = [name for name in now if name in seen and name not in resting and now[name] == start.get(name)]
    why = f"no finite gradient other than zero in any step: {names(never, 3)}" if never else ""
    why = why or f"a gradient, but the same value as before the first step: {names(still, 3)}"
    rested = [name for name in now if name not in seen and name in resting]
    note = f"; {len(rested)} at rest as declared" if rested else ""
    return check(
        "moved", not never and not still, f"{len(now) - len(rested)} tensors had a gradient and moved{note}", why
    )


def _untouched(before: dict[str, str], now: dict[str, str]) -> Check:
    changed = sorted(name for name in before.keys() & now.keys() if before[name] != now[name])
    other = sorted(before.keys() ^ now.keys())
    why = f"frozen, and changed: {names(changed, 3)}" if changed else f"frozen at one end only: {names(other, 3)}"
    return check("untouched", not changed and not other, f"{len(now)} frozen tensors have the same bytes", why)


def _same(what: str, stored: dict[str, str], now: dict[str, str]) -> Check:
    differ = sorted(name for name in stored.keys() | now.keys() if stored.get(name) != now.get(name))
    return check(what, not differ, f"{len(now)} {what} as stored", f"{what} differ from the run's: {names(differ, 3)}")
