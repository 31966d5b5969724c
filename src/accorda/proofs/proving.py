"""All proofs of a run: watched while it goes on, drawn at its end, and drawn again from its files."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from accorda.errors import Refusal, Stopped
from accorda.generation.progress import announce
from accorda.proofs.contract import Proof, Prover
from accorda.proofs.foreign import verify_folder
from accorda.proofs.registry import provers
from accorda.runs import events
from accorda.runs.files import read_json, write_json, write_text
from accorda.runs.layout import RunFolder
from accorda.runs.verifiable import require_own, require_verifiable
from accorda.training.loop import Loop, Observer
from accorda.training.session import Session

logger = logging.getLogger(__name__)

SECONDS = "proof_seconds"
Reopen = Callable[[RunFolder], Session]


def observers(session: Session) -> list[Observer]:
    """What must watch the run for its proofs; hand them to the loop before its first step."""
    return [_Timed(session, observer) for prover in provers().values() for observer in prover.observers(session)]


def prove(session: Session) -> list[Proof]:
    """Every proof of a finished run, also written to proof.json with what they cost; verify.py is put beside it.

    A proof that cannot be computed fails with the error as its reason.
    """
    began, folder = perf_counter(), session.folder
    found = [
        _guarded(prover, lambda prover=prover: prover.prove(session, folder.path)) for prover in provers().values()
    ]
    seconds = session.notes.get(SECONDS, 0.0) + perf_counter() - began
    trained = sum(event["seconds"] for event in events.read(folder.events) if event["event"] == "step")
    share = seconds / (seconds + trained) if trained else None
    content = {"proofs": [proof.to_dict() for proof in found], "seconds": round(seconds, 3), "share": share}
    write_json(folder.proof, content)
    write_text(folder.verify, (Path(__file__).parent / "standalone.py").read_text(encoding="utf-8"))
    return found


def verify(
    path: Path | str,
    base: Path | str | None = None,
    data: Any = None,
    *,
    columns: dict[str, str] | None = None,
    reopen: Reopen | None = None,
) -> list[Proof]:
    """The proofs of a run folder, or of anybody's adapter or model folder, drawn from what stands there.

    Args:
        path: a run, an adapter folder or a model folder.
        base: the folder of an adapter's base, where its header does not name one that is here.
        data: rows or a file to compare log-probabilities on; a run has its own.
        columns: which columns of `data` are what, where its format does not tell.
        reopen: makes a session of a run folder (`stages.reopen`); without it a run's result is looked at as a folder.

    Raises:
        Refusal: there is nothing at `path`, or nothing that can be verified.
    """
    folder = RunFolder(Path(path))
    require_verifiable(path)
    if folder.is_run() and reopen is not None:
        require_own(folder, base, data)
        return _verify_run(reopen(folder))
    place = next((part for part in (folder.adapter, folder.model) if folder.is_run() and part.is_dir()), folder.path)
    return verify_folder(place, None if base is None else Path(base), data, columns)


def _verify_run(session: Session) -> list[Proof]:
    stored = stored_proofs(session.folder.proof)

    def again(prover: Prover) -> Proof:
        found = _guarded(prover, lambda: prover.verify(session, session.folder.path, stored.get(prover.name)))
        announce(f"{found.name}: {found.verdict}")
        return found

    return [again(prover) for prover in provers().values()]


def stored_proofs(path: Path) -> dict[str, Proof]:
    """What a run proved, by name; nothing where it left no such file.

    Raises:
        Refusal: there is one, and it is none that a run writes.
    """
    if not path.is_file():
        return {}
    try:
        return {one["name"]: Proof.from_dict(one) for one in (read_json(path) or {})["proofs"]}
    except (KeyError, TypeError, ValueError):
        raise Refusal(f"{path}: not as a run writes it; take it from a copy of the run") from None


def _guarded(prover: Prover, work: Callable[[], Proof]) -> Proof:
    began = perf_counter()
    try:
        proof = work()
        return replace(proof, evidence=proof.evidence | {"seconds": round(perf_counter() - began, 3)})
    except Stopped:
        raise
    except (torch.OutOfMemoryError, MemoryError):
        reason = "memory does not suffice to compare in fp32 beside what the run holds"
        return Proof(prover.name, "not applicable", reason)
    except Exception as error:
        logger.exception("the proof %s could not be computed", prover.name)
        return Proof(prover.name, "fails", f"it could not be computed: {error!r}")


class _Timed(Observer):
    """Adds what an observer costs to the run's account."""

    def __init__(self, session: Session, inner: Observer):
        self.session, self.inner = session, inner

    def before_first_step(self, loop: Loop) -> None:
        self._count(lambda: self.inner.before_first_step(loop))

    def after_backward(self, loop: Loop, step: int) -> None:
        self._count(lambda: self.inner.after_backward(loop, step))

    def after_checkpoint(self, loop: Loop, folder: Path) -> None:
        self._count(lambda: self.inner.after_checkpoint(loop, folder))

    def _count(self, work: Callable[[], None]) -> None:
        began = perf_counter()
        try:
            work()
        finally:
            spent = self.session.notes.get(SECONDS, 0.0) + perf_counter() - began
            self.session.notes[SECONDS] = spent
