"""What may end a run before its time: signals, memory, disk."""

import errno
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch

STOPPING = (signal.SIGTERM, signal.SIGINT)


class Interrupted(Exception):
    """A signal asked the run to stop; raised at a moment from which it can go on."""


class Unreachable(Exception):
    """What a run needs from outside itself is not there, or not as it should be; the run can go on once it is."""


class Signals:
    """While entered, SIGTERM and Ctrl-C are noted instead of obeyed; a second Ctrl-C is obeyed at once.

    `check` raises `Interrupted` where stopping is safe. Signals can be watched in the main thread only; elsewhere this
    does nothing, and whoever owns the main thread stops the run. Runs that take turns enter one object several times.
    """

    def __init__(self) -> None:
        self.received: str | None = None
        self._at_once = False
        self._entered = 0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Signals":
        self._entered += 1
        if self._entered == 1 and threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in STOPPING}
        return self

    def __exit__(self, *exception: object) -> None:
        self._entered -= 1
        if not self._entered:
            for number, handler in self._before.items():
                signal.signal(number, handler)

    def check(self) -> None:
        """Stop here if a signal came.

        Raises:
            Interrupted: with the signal's name.
        """
        if self.received:
            raise Interrupted(self.received)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Around work that may be cut short anywhere, such as evaluation."""
        self.check()
        self._at_once = True
        try:
            yield
        finally:
            self._at_once = False

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        if self._at_once:
            raise Interrupted(self.received)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory, of the device or the host, ran out."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def is_disk_full(error: BaseException) -> bool:
    """Whether an exception, or what caused it, says that the disk or its quota is full."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    if "No space left on device" in str(error):  # safetensors reports the error number as text
        return True
    return error.__cause__ is not None and is_disk_full(error.__cause__)
