"""A whole run: steps, evaluations, checkpoints, the best of them, and an orderly stop whatever happens.

A run gives way after every optimizer step, so that several can take turns; `run` goes through without a pause.
"""

import logging
from collections.abc import Callable, Generator, Mapping
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from accorda.errors import Refusal, Stopped
from accorda.runs import events
from accorda.runs.events import EventLog
from accorda.runs.layout import RunFolder
from accorda.training import checkpoint
from accorda.training.guard import Interrupted, Signals, Unreachable, is_disk_full, is_out_of_memory
from accorda.training.loop import Loop, NonFinite
from accorda.training.nonfinite import explain
from accorda.training.rng import undisturbed
from accorda.training.totals import totals
from accorda.training.turns import Turns, to_end

logger = logging.getLogger(__name__)

Evaluate = Callable[[], Mapping[str, Any]]
Show = Callable[[dict[str, Any]], None]

OUT_OF_MEMORY = (
    "out of memory in step {step}; lower training.micro_batch_size (the gradient stays the same) or data.max_length, "
    "or set training.gradient_checkpointing to true"
)


@dataclass(frozen=True, kw_only=True)
class Course:
    """How long a run goes and what happens on the way; every number counts optimizer steps.

    best: the metric of an evaluation that decides which step's parameters are the result.
    patience: evaluations in a row without a better one after which the run ends early; None for never.
    """

    num_steps: int
    evaluate_every: int = 100
    checkpoint_every: int = 100
    keep_checkpoints: int = 2
    best: str = "eval_loss"
    patience: int | None = None


@dataclass
class Standing:
    """What a run knows beside the loop's state: stored in every checkpoint."""

    evaluated: int | None = None
    best_step: int | None = None
    best_value: float | None = None
    worse: int = 0
    ended: bool = False


def run(
    loop: Loop,
    course: Course,
    folder: RunFolder,
    *,
    evaluate: Evaluate | None = None,
    identity: Mapping[str, str] | None = None,
    resume: bool = False,
    show: Show = lambda event: None,
) -> dict[str, Any]:
    """`run_by_turns` without a pause."""
    return to_end(run_by_turns(loop, course, folder, evaluate=evaluate, identity=identity, resume=resume, show=show))


def run_by_turns(
    loop: Loop,
    course: Course,
    folder: RunFolder,
    *,
    evaluate: Evaluate | None = None,
    identity: Mapping[str, str] | None = None,
    resume: bool = False,
    show: Show = lambda event: None,
    signals: Signals | None = None,
) -> Turns[dict[str, Any]]:
    """Train to the end of the course. The model then holds the best evaluated parameters, or the last ones.

    Args:
        loop: at step 0.
        course: lengths and intervals.
        folder: where events and checkpoints go.
        evaluate: gives metrics, `course.best` among them (None where nothing had it), and samples if wanted; called
            before the first step, at every interval and after the last. What it draws does not change the run.
        identity: hashes of what the run rests on (recipe, data, base); a checkpoint of another identity is refused.
        resume: go on from the last whole checkpoint, from step 0 if there is none.
        show: is handed every event after it is in the log; what it raises is logged once and changes nothing.
        signals: those that several runs watch together; None for a run by itself.

    Yields: after every optimizer step.

    Returns:
        The run's totals (`totals`).

    Raises:
        Stopped: signal, out of memory, disk full, non-finite loss, a server gone; what could be saved is.
        Refusal: a checkpoint of another identity; an evaluation without the metric `course.best`.
    """
    with signals or Signals() as watched, closing(EventLog(folder.events)) as log:
        work = _Run(loop, course, folder, evaluate, dict(identity or {}), show, watched, log)
        fault: BaseException
        try:
            work.start(resume)
            yield from work.go()
            return totals(events.read(folder.events))
        except (Interrupted, NonFinite, Unreachable) as stop:
            fault = stop
        except Exception as error:
            if not is_disk_full(error) and not is_out_of_memory(error):
                raise
            fault = error.with_traceback(None)  # its frames hold the tensors that filled the memory
        reason = work.stop(fault)
        work.tell_stopped(reason)
        raise Stopped(reason, str(folder.path), own=isinstance(fault, NonFinite) or is_out_of_memory(fault))


@dataclass
class _Run:
    loop: Loop
    course: Course
    folder: RunFolder
    evaluate: Evaluate | None
    identity: dict[str, str]
    show: Show | None
    signals: Signals
    log: EventLog
    standing: Standing = field(default_factory=Standing)
    saved: tuple[int, int | None] | None = None

    def start(self, resume: bool) -> None:
        """Put the loop where the last whole checkpoint left it."""
        self.loop.check = self.signals.check
        if not resume:
            return
        found = checkpoint.latest(self.folder.checkpoints, logger.warning)
        if found:
            place, state = found
            checkpoint.require_same(self.identity, state.values["run"]["identity"], place)
            self.loop.load_state(state)
            self.standing = Standing(**state.values["run"]["standing"])
            self.saved = self.position
        self.tell({"event": "resumed", "from": self.loop.step_number})

    def go(self) -> Generator[None, None, None]:
        """Everything that is left of the course, step by step."""
        while True:
            if self.evaluation_due():
                self.judge()
            if self.checkpoint_due():
                with self.loop.part("files"):
                    self.save()
            if self.at_end():
                break
            self.signals.check()
            with self.loop.part("step"):
                made = self.loop.step()
            self.tell(made)
            yield
        self.take_best()

    @property
    def position(self) -> tuple[int, int | None]:
        return self.loop.step_number, self.standing.evaluated

    def at_end(self) -> bool:
        return self.standing.ended or self.loop.step_number >= self.course.num_steps

    def evaluation_due(self) -> bool:
        step = self.loop.step_number
        due = step % self.course.evaluate_every == 0 or self.at_end()
        return self.evaluate is not None and due and self.standing.evaluated != step

    def checkpoint_due(self) -> bool:
        step = self.loop.step_number
        due = step % self.course.checkpoint_every == 0 or self.standing.best_step == step or self.at_end()
        return step > 0 and due and self.saved != self.position

    def judge(self) -> None:
        """Evaluate, and see whether this is the best so far. The untrained model is measured, but no candidate."""
        assert self.evaluate is not None
        step, best = self.loop.step_number, self.course.best
        with self.loop.part("evaluation"), self.signals.at_once(), undisturbed():
            found = dict(self.evaluate())
        if best not in found:
            numbers = ", ".join(name for name, value in found.items() if isinstance(value, int | float))
            raise Refusal(f"evaluation.best: no metric {best!r} in this run; there are: {numbers}")
        self.tell({"event": "evaluation", "step": step, **found})
        self.standing.evaluated = step
        if found[best] is None:
            logger.warning("step %d: nothing had a %s, so the step is no candidate for the best one", step, best)
        elif step > 0:
            self.compare(step, float(found[best]))

    def compare(self, step: int, value: float) -> None:
        """Take note of a better value, or lose patience."""
        standing, best = self.standing, self.standing.best_value
        sign = 1 if lower_is_better(self.course.best) else -1
        if best is None or sign * value < sign * best:
            standing.best_step, standing.best_value, standing.worse = step, value, 0
            return
        standing.worse += 1
        if self.course.patience is not None and standing.worse >= self.course.patience and not self.at_end():
            standing.ended = True
            self.tell({"event": "stopped_early", "step": step, "best": standing.best_step})

    def save(self) -> None:
        """Write a checkpoint, delete those no longer wanted, and let the observers look."""
        step = self.loop.step_number
        self.saved = self.position
        state = self.loop.state(copy=False)
        state.values["run"] = {"identity": self.identity, "standing": asdict(self.standing)}
        self.log.sync()
        place = self.folder.checkpoint(step)
        checkpoint.save(place, state)
        checkpoint.prune(self.folder.checkpoints, self.course.keep_checkpoints, self.standing.best_step)
        self.tell({"event": "checkpoint", "step": step})
        self.loop.check = lambda: None  # an observer that steps the loop must come to put it back
        with self.loop.part("proofs"):
            for observer in self.loop.observers:
                observer.after_checkpoint(self.loop, place)
        self.loop.check = self.signals.check

    def take_best(self) -> None:
        """Give the model the parameters of the best evaluation, if they are not the last ones."""
        best = self.standing.best_step
        if best is not None and best != self.loop.step_number:
            self.loop.load_parameters(checkpoint.load(self.folder.checkpoint(best)))
            self.tell({"event": "best", "step": best, self.course.best: self.standing.best_value})

    def tell(self, event: dict[str, Any]) -> None:
        """Log an event, then show it; a display that fails is let go."""
        self.log.append(event)
        if self.show is None:
            return
        try:
            self.show(event)
        except Exception as error:
            self.show = None
            logger.warning("the display failed and is switched off: %r", error)

    def tell_stopped(self, reason: str) -> None:
        """Log why; where the log cannot be written, the line on the terminal is all there is."""
        with suppress(OSError):
            self.tell({"event": "stopped", "step": self.loop.step_number, "reason": reason})

    def stop(self, fault: BaseException) -> str:
        """Save what can be saved; one line that says what happened and what helps."""
        step = self.loop.step_number
        if isinstance(fault, Interrupted):
            reason = f"stopped by {fault} after step {step}"
        elif isinstance(fault, NonFinite):
            reason = explain(self.loop, fault, self.folder.path)
        elif isinstance(fault, Unreachable):
            reason = f"{fault} (after step {step})"
        elif is_disk_full(fault):
            return f"the disk is full at {self.folder.path} after step {step}; free some space"
        else:
            reason = OUT_OF_MEMORY.format(step=step + 1)
        return reason + self.save_after(fault)

    def save_after(self, fault: BaseException) -> str:
        """A checkpoint of where the run stopped, if the state is whole; a remark where there is none."""
        if self.loop.step_number == 0 or self.saved == self.position:
            return ""
        try:
            self.save()
        except Exception as error:
            logger.warning("no checkpoint after %r: %r", fault, error)
            return f" (no checkpoint of this step: {error})"
        return ""


def lower_is_better(metric: str) -> bool:
    """Losses, errors and perplexity fall, every other metric rises."""
    return any(word in metric for word in ("loss", "error", "perplexity"))
