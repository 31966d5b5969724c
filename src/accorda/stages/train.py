"""One run from recipe to result: preflight, then a folder, then steps, files, proofs, and last of all result.json."""

import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from accorda.data.recorded import recorded
from accorda.errors import Refusal, Stopped
from accorda.methods import registry
from accorda.methods.contract import Method
from accorda.proofs.contract import Proof
from accorda.recipe.layers import leaves, mapping
from accorda.recipe.load import from_keywords, load
from accorda.recipe.sections import Recipe
from accorda.runs.crash import inside
from accorda.runs.layout import RunFolder
from accorda.stages import outcome, preflight
from accorda.stages.build import BILL_NOTE, PROFILE_NOTE, STEPS_NOTE, build
from accorda.stages.contract import find_stage
from accorda.stages.resident import Resident
from accorda.stages.settle import default_device, settle_threads
from accorda.training.guard import Signals
from accorda.training.objective import Making
from accorda.training.parts import unwatched
from accorda.training.profile import Profiler
from accorda.training.run import Course, Show, run_by_turns
from accorda.training.session import Session
from accorda.training.trackers.follow import following
from accorda.training.turns import Turns, to_end

Watch = Callable[[int], Show]
"""Called with the number of steps when they begin; what it gives is handed every event of the run."""


@dataclass(frozen=True)
class Run:
    """What a run came to: its folder (None after a dry run), the summary that `--json` prints, and the proofs."""

    folder: RunFolder | None
    result: dict[str, Any]
    proofs: list[Proof] = field(default_factory=list)

    @property
    def proven(self) -> bool:
        """Whether no proof failed."""
        return all(proof.verdict != "fails" for proof in self.proofs)


def train(
    recipe: Any = None, *, dry_run: bool = False, profile: bool = False, watch: Watch | None = None, **keywords: Any
) -> Run:
    """Train by a recipe: a path, a mapping, a `Recipe`, or keyword arguments (`model=`, `data=`, `method=`, `rank=`).

    With `dry_run` everything up to the first step is done and told, and nothing is written. With `profile` the result
    tells where the time went and how far the products were from the machine's own.

    Raises:
        Refusal: bad input, before anything is written. Stopped: the run can be resumed.
    """
    recipe = as_recipe(recipe, keywords)
    if dry_run and profile:
        raise Refusal("profile: a dry run makes no step whose time could be told; leave one of both out")
    if dry_run:
        report = preflight.check(build(recipe))
        return Run(None, {"status": "dry run", **report.to_dict()}, report.proofs)
    return to_end(train_by_turns(recipe, watch=watch, profiler=Profiler(default_device()) if profile else None))


def train_by_turns(
    recipe: Recipe,
    *,
    watch: Watch | None = None,
    resident: Resident | None = None,
    signals: Signals | None = None,
    profiler: Profiler | None = None,
) -> Turns[Run]:
    """`train` that gives way after every optimizer step, over a base that several runs share if one is given."""
    part = profiler.part if profiler else unwatched
    with part("start"):
        session = build(recipe, resident=resident, part=part)
        with part("proofs"):
            report = preflight.check(session)
        session.recipe = settle_threads(session.recipe, lambda: preflight.trial(session))
        session.notes[BILL_NOTE] = report.bill
        outcome.begin(session)
    if profiler is not None:
        session.notes[PROFILE_NOTE] = profiler
        profiler.begin(session.loop.precision, session.notes[STEPS_NOTE])
        session.loop.part = part
        if session.loop.carried is not None:
            session.loop.carried.timed = part
    try:
        with inside(session.folder):
            return (yield from go(session, resume=False, watch=watch, signals=signals))
    except Refusal:
        if not session.loop.step_number:  # a run that is refused leaves nothing
            shutil.rmtree(session.folder.path, ignore_errors=True)
        raise


def resume(folder: str | Path | RunFolder, *, watch: Watch | None = None) -> Run:
    """Go on with an unfinished run from its last whole checkpoint; the result is the uninterrupted run's, bit for bit.

    Raises:
        Refusal: no run, a complete one, or one whose data, base or recipe changed.
    """
    return to_end(resume_by_turns(folder, watch=watch))


def resume_by_turns(
    folder: str | Path | RunFolder,
    *,
    watch: Watch | None = None,
    resident: Resident | None = None,
    signals: Signals | None = None,
) -> Turns[Run]:
    """`resume` that gives way after every optimizer step."""
    place = run_folder(folder)
    if place.is_complete():
        raise Refusal(f"{place.path}: the run is complete; nothing is left to resume")
    session = build(recorded(place), place, resident=resident)
    session.notes[BILL_NOTE] = preflight.bill(session)
    settle_threads(session.recipe, lambda: None)
    with inside(session.folder):
        return (yield from go(session, resume=True, watch=watch, signals=signals))


def go(session: Session, *, resume: bool, watch: Watch | None, signals: Signals | None) -> Turns[Run]:
    """The steps, giving way after each, and everything behind them."""
    from accorda.proofs.proving import observers, prove

    session.loop.observers = observers(session)
    recipe = session.recipe
    course = Course(
        num_steps=session.notes[STEPS_NOTE],
        evaluate_every=recipe.evaluation.every,
        checkpoint_every=recipe.training.checkpoint_every,
        keep_checkpoints=recipe.training.keep_checkpoints,
        best=recipe.evaluation.best,
        patience=recipe.evaluation.patience,
    )
    show = watch(course.num_steps) if watch else unseen
    try:
        totals = yield from steps(session, course, resume=resume, show=show, signals=signals)
    except Stopped:
        outcome.show(session)
        raise
    finally:
        if session.loop.carried is not None:
            session.loop.carried.close()
    part = session.loop.part
    with part("files"):
        outcome.save(session)
    now(show, "the steps are done: answers for the report")
    with part("evaluation"):
        outcome.sample(session, totals["train_seconds"])
    now(show, "the proofs")
    with part("proofs"):
        proofs = prove(session)
    result = outcome.finish(session, totals, proofs)
    return Run(session.folder, result, proofs)


def unseen(event: dict[str, Any]) -> None:
    """Nobody watches."""


def now(show: Show, what: str) -> None:
    """Tell whoever watches what goes on behind the last step; a display that fails is no matter of the run."""
    with suppress(Exception):
        show({"event": "now", "what": what})


def steps(
    session: Session, course: Course, *, resume: bool, show: Show, signals: Signals | None
) -> Turns[dict[str, Any]]:
    """The steps themselves, and what follows their log; the run's totals."""
    recipe = session.recipe
    with following(recipe.training.trackers, session.folder, dict(leaves(mapping(recipe)))):
        return (
            yield from run_by_turns(
                session.loop,
                course,
                session.folder,
                evaluate=find_stage(recipe.stage).evaluator(session),
                identity=outcome.identity(session),
                resume=resume,
                show=show,
                signals=signals,
            )
        )


def reopen(folder: str | Path | RunFolder) -> Session:
    """The session of a complete run with what it trained in place, for proofs and evaluation."""
    place = run_folder(folder)
    session = build(recorded(place), place, trained=True)
    outcome.put_beside(session)
    if isinstance(session.loop.carried, Making):
        session.loop.carried.stay_here()
    return session


def verify(
    path: str | Path, base: str | Path | None = None, data: Any = None, *, columns: dict[str, str] | None = None
) -> list[Proof]:
    """The proofs of a run, or of anybody's adapter or model folder, drawn again from what stands there."""
    from accorda.proofs.proving import verify as verify_path

    return verify_path(path, base, data, columns=columns, reopen=reopen)


def run_folder(folder: str | Path | RunFolder) -> RunFolder:
    """The run at that place.

    Raises:
        Refusal: there is none.
    """
    place = folder if isinstance(folder, RunFolder) else RunFolder(Path(folder))
    if not place.is_run():
        raise Refusal(f"{place.path}: no run here (a run folder holds recipe.yaml); list them with: accorda runs")
    return place


def as_recipe(recipe: Any, keywords: Mapping[str, Any]) -> Recipe:
    """A recipe from whatever Python or the command line handed over; a method may be given as an object."""
    if isinstance(recipe, Recipe):
        return recipe
    if recipe is None:
        return from_keywords(**plain_method(keywords))
    if keywords:
        raise Refusal(f"{next(iter(keywords))}: give a recipe or keyword arguments, not both")
    return load(plain_method(recipe) if isinstance(recipe, Mapping) else recipe)


def plain_method(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """`method=LoRA(rank=8)` as the section of a recipe."""
    method = given.get("method")
    return {**given, "method": registry.write(method)} if isinstance(method, Method) else given
