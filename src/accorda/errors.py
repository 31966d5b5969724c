"""The three ways a command ends early; each maps to one exit code of the command line."""

from collections.abc import Iterator
from contextlib import contextmanager


class Refusal(Exception):
    """Bad input or usage: one line with what, where and how to mend it. Exit code 2."""


class Stopped(Exception):
    """A run stopped before its end and can be resumed: signal, memory, disk, non-finite loss, server. Exit code 3.

    `own`: the run's settings are the reason (memory, non-finite loss), so that other runs need not stop.
    """

    def __init__(self, reason: str, run: str, *, own: bool = False):
        super().__init__(f"{reason}; continue with: accorda resume {run}")
        self.reason = reason
        self.run = run
        self.own = own


class Unproven(Exception):
    """The work was done, but a proof, check or gate failed. Exit code 1."""


@contextmanager
def renamed(setting: str, to: str) -> Iterator[None]:
    """Refusals of `setting` made inside are told as those of the setting that the value came from."""
    try:
        yield
    except Refusal as refusal:
        if not (told := str(refusal)).startswith(setting):
            raise
        raise Refusal(to + told.removeprefix(setting)) from refusal
