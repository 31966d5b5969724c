"""Where the time goes, part by part. A part inside another counts for itself alone, so all parts add up."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter

WHOLE = ("proofs", "evaluation")  # they make steps and passes of their own, which are theirs


class Clock:
    """Seconds by part. `settle` is called at every border: a device that computes by itself comes to rest there."""

    def __init__(self, settle: Callable[[], object] = lambda: None):
        self.seconds: dict[str, float] = {}
        self.settle = settle
        self._open: list[str] = []
        self._since = 0.0

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time what happens inside."""
        if self._open and self._open[-1] in WHOLE:
            yield
            return
        self._turn()
        self._open.append(name)
        try:
            yield
        finally:
            self._turn()
            self._open.pop()

    @property
    def inside(self) -> str | None:
        """The part that time is counted for now."""
        return self._open[-1] if self._open else None

    def _turn(self) -> None:
        self.settle()
        now = perf_counter()
        if self._open:
            self.seconds[self._open[-1]] = self.seconds.get(self._open[-1], 0.0) + now - self._since
        self._since = now
