"""Work that gives way between its steps, so that several runs can take turns in one process."""

from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from accorda.errors import Stopped
from accorda.training.guard import Signals
from accorda.training.rng import Generators

T = TypeVar("T")
Turns = Generator[None, None, T]
"""Yields after every optimizer step, and returns what it came to."""

FAULT = "a fault in another run"


def to_end(turns: Turns[T]) -> T:
    """All turns, one after the other; what they come to."""
    while True:
        try:
            next(turns)
        except StopIteration as end:
            return end.value


@dataclass
class Lane:
    """One of several runs that take turns. Between its turns its random generators wait with it."""

    name: str
    turns: Turns[object]
    _generators: Generators | None = field(default=None, init=False)

    @property
    def begun(self) -> bool:
        """Whether it had a turn."""
        return self._generators is not None

    def turn(self) -> bool:
        """One step, drawing what it would have drawn alone. False where the run is over."""
        if self._generators is not None:
            self._generators.restore()
        over = object()
        went_on = next(self.turns, over) is not over
        self._generators = Generators.capture()
        return went_on


def take_turns(lanes: Sequence[Lane], signals: Signals, over: Callable[[str, str], None]) -> None:
    """A step of each in turn until all are over.

    Args:
        lanes: the runs; each begins with its first turn.
        signals: what all of them watch.
        over: told the name of a run that is over and why it cannot go on, "" where it is complete.

    Raises:
        Stopped: all runs were stopped; every one that had begun has saved what it could.
    """
    going = deque(lanes)
    with signals:
        while going:
            lane = going.popleft()
            try:
                if lane.turn():
                    going.append(lane)
                else:
                    over(lane.name, "")
            except BaseException as error:
                if isinstance(error, Stopped) and error.own:
                    over(lane.name, error.reason)
                    continue
                signals.received = signals.received or FAULT
                for other in going:
                    with suppress(Exception):  # the first one's is the reason
                        if other.begun:
                            other.turn()
                raise
