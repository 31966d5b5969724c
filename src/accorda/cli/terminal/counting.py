"""A line on standard error that tells how many rows are done."""

import sys
from collections.abc import Callable
from time import monotonic
from typing import TextIO

QUIET_SECONDS = 10.0
FRAME_SECONDS = 0.1


class Counting:
    """Call it with what is done, how much of it, and of how much.

    On a terminal one line that changes; elsewhere a line every ten seconds, so that short work says nothing. Close it
    at the end. `parts`: of long work, a line of its own for every part that begins.
    """

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = monotonic, *, parts: bool = False):
        self.stream = stream or sys.stderr
        self.clock = clock
        self.parts = parts
        self.live = self.stream.isatty()
        self._last = clock()
        self._width = 0

    def __call__(self, what: str, done: int, total: int) -> None:
        """So many rows of this are done."""
        if not total:
            self.begin(what)
            return
        now = self.clock()
        if now - self._last < (FRAME_SECONDS if self.live else QUIET_SECONDS) and not (self.live and done == total):
            return
        self._last = now
        text = f"{what} {done:,}/{total:,}"
        if self.live:
            self.stream.write("\r" + text.ljust(self._width))
            self._width = len(text)
        else:
            self.stream.write(text + "\n")
        self.stream.flush()

    def begin(self, what: str) -> None:
        """A part of the work begins."""
        if self.parts:
            self.close()
            self.stream.write(what + "\n")
            self.stream.flush()

    def close(self) -> None:
        """Take the changing line away."""
        if self._width:
            self.stream.write("\r" + " " * self._width + "\r")
            self.stream.flush()
            self._width = 0
