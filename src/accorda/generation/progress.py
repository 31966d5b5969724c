"""How far a long list of rows has come, for whoever wants to see it: nobody, unless `watched` says so.

Rows are counted deep inside an evaluation, and shown by whoever started it; this spares every function between the two
an argument. A display belongs to the block that asked for it, never to the package.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Show = Callable[[str, int, int], None]
"""Called with what is being done, how many rows are, and how many there are; of 0 where a part of the work begins."""
_show: ContextVar[Show | None] = ContextVar("show", default=None)


@contextmanager
def watched(show: Show) -> Iterator[None]:
    """Have `show` called whenever rows are done inside."""
    token = _show.set(show)
    try:
        yield
    finally:
        _show.reset(token)


@contextmanager
def part(name: str) -> Iterator[None]:
    """What is told inside is about this part: its name stands in front, and is announced."""
    show = _show.get()
    if show is None:
        yield
        return
    announce(name)
    with watched(lambda what, done, total: show(f"{name}: {what}", done, total)):
        yield


def tell(what: str, done: int, total: int) -> None:
    """So many of so many rows are done."""
    show = _show.get()
    if show is not None:
        show(what, done, total)


def announce(what: str) -> None:
    """This begins, or has come out; of it nothing is counted."""
    tell(what, 0, 0)
