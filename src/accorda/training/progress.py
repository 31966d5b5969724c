"""What a person sees while a run goes: a bar on a terminal, a plain line now and then anywhere else."""

import sys
from collections import deque
from collections.abc import Callable
from statistics import median, median_low
from time import monotonic
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from torch import get_num_threads

QUIET_SECONDS = 10.0
SMOOTHING = 0.9
FIRST, SLOW, LONG = 12, 4.0, 20
"""A slow-down is told where most of the last twenty steps took four times as long as the first dozen's median."""


class Display:
    """Shows events as they come: call it with each, close it at the end.

    On a terminal a bar with loss, tokens per second and the time left; in a pipe or a file one line at the first step,
    every ten seconds, at every evaluation and at the last step. The mean loss and the
    speed are smoothed over about ten steps; the result has the loss of the last step alone.
    """

    def __init__(
        self, num_steps: int, stream: TextIO | None = None, clock: Callable[[], float] = monotonic, done: int = 0
    ) -> None:
        self.num_steps = num_steps
        self.stream = stream or sys.stderr
        self.clock = clock
        self._loss: float | None = None
        self._seconds_per_step: float | None = None
        self._speed: float | None = None
        self._first: list[float] = []
        self._last: deque[float] = deque(maxlen=LONG)
        self._told = False
        self._last_line = -QUIET_SECONDS
        self._bar, self._task = self._start(done) if self.stream.isatty() else (None, TaskID(0))

    def __call__(self, event: dict[str, Any]) -> None:
        """Show one event of the run's log."""
        if event["event"] == "step":
            self._step(event)
        elif event["event"] == "evaluation":
            self.say(f"step {event['step']}: " + "  ".join(numbers(event)))
        elif event["event"] == "resumed":
            self.say(f"resumed from step {event['from']}")
        elif event["event"] == "now":
            self.say(f"{event['what']} ...")
        elif event["event"] == "stopped_early":
            self.say(f"stopped early after step {event['step']}; the best was step {event['best']}")

    def say(self, text: str) -> None:
        """A line of its own."""
        if self._bar:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            self.stream.write(text + "\n")
            self.stream.flush()

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._bar:
            self._bar.stop()

    def _step(self, event: dict[str, Any]) -> None:
        self._loss = smooth(self._loss, event["loss"])
        self._speed = smooth(self._speed, event["tokens"] / max(event["seconds"], 1e-9))
        self._seconds_per_step = smooth(self._seconds_per_step, event["seconds"])
        self._watch(event["seconds"])
        step, facts = event["step"], f"mean loss {self._loss:.4f}  {self._speed:,.0f} tokens/s"
        if self._bar:
            self._bar.update(self._task, completed=step, facts=facts)
            return
        now = self.clock()
        if now - self._last_line >= QUIET_SECONDS or step == self.num_steps:
            self._last_line = now
            left = duration((self.num_steps - step) * self._seconds_per_step)
            self.say(f"step {step}/{self.num_steps}  {facts}  {left} left")

    def _watch(self, seconds: float) -> None:
        """Tell once where other programs may have come to use the machine: threads that wait for each other suffer."""
        if len(self._first) < FIRST:
            self._first.append(seconds)
            return
        self._last.append(seconds)
        if self._told or len(self._last) < LONG:
            return
        times = median_low(self._last) / max(median(self._first), 1e-9)
        if times > SLOW:
            self._told = True
            slow = f"steps take {times:.0f} times as long as at first: other programs may use the machine too"
            advice = "" if get_num_threads() == 1 else "; fewer threads suffer less from that (training.threads=1)"
            self.say(slow + advice)

    def _start(self, done: int) -> tuple[Progress, TaskID]:
        columns = [TextColumn("training"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[facts]}")]
        bar = Progress(*columns, TimeRemainingColumn(), console=Console(file=self.stream))
        task = bar.add_task("training", total=self.num_steps, completed=done, facts="")
        bar.start()
        return bar, task


def smooth(mean: float | None, value: float) -> float:
    """The running mean moved towards a new value."""
    return value if mean is None else SMOOTHING * mean + (1 - SMOOTHING) * value


def numbers(event: dict[str, Any]) -> list[str]:
    """The metrics of an evaluation, as text."""
    return [f"{k} {v:.4f}" for k, v in event.items() if k != "step" and isinstance(v, int | float)]


def duration(seconds: float) -> str:
    """Seconds as `1:02:03` or `2:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
