"""Trackers beside a run: each in its own thread, reading the event log. None of them can touch the training."""

import importlib
import importlib.util
import inspect
import json
import logging
import pkgutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from accorda.errors import Refusal
from accorda.recipe.words import install
from accorda.runs.layout import RunFolder
from accorda.training import trackers as home
from accorda.training.trackers.contract import Tracker

logger = logging.getLogger(__name__)

PAUSE = 0.5  # seconds between two looks at the log
PATIENCE = 20.0  # seconds that the end of a run waits for a slow tracker


@cache
def trackers() -> dict[str, type[Tracker]]:
    """Every tracker by its file's name."""
    found = {}
    for info in pkgutil.iter_modules(home.__path__):
        if info.name not in ("contract", "follow"):
            module = importlib.import_module(f"{home.__name__}.{info.name}")
            for _, value in inspect.getmembers(module, inspect.isclass):
                if issubclass(value, Tracker) and value.__module__ == module.__name__:
                    found[info.name] = value
    return found


def require(names: Sequence[str]) -> None:
    """Refuse trackers that do not exist or are not installed, before a run begins.

    Raises:
        Refusal: with the name that was meant, or the line that installs it.
    """
    for name in names:
        if name not in trackers():
            near = get_close_matches(name, trackers(), 1)
            way_out = f"did you mean {near[0]}?" if near else f"there are: {', '.join(trackers())}"
            raise Refusal(f"training.trackers: no tracker {name!r}; {way_out}")
        package = trackers()[name].package
        if importlib.util.find_spec(package) is None:
            raise Refusal(f"training.trackers: {name} is not installed; {install(package)}")


@contextmanager
def following(names: Sequence[str], folder: RunFolder, settings: Mapping[str, Any]) -> Iterator[None]:
    """While entered, the named trackers copy the run's events; at the end each gets some time to catch up."""
    threads = [_Follower(name, trackers()[name], folder, settings) for name in names]
    for thread in threads:
        thread.start()
    complete = False
    try:
        yield
        complete = True
    finally:
        for thread in threads:
            thread.finish(complete)


class _Follower(threading.Thread):
    """Tails the log for one tracker. `position` in the tracker's folder says how far it came, for a resumed run."""

    def __init__(self, name: str, kind: type[Tracker], folder: RunFolder, settings: Mapping[str, Any]) -> None:
        super().__init__(name=f"tracker-{name}", daemon=True)
        self.title, self.kind, self.folder, self.settings = name, kind, folder, settings
        self.place = folder.path / "trackers" / name
        self.complete = False
        self._end = threading.Event()

    def run(self) -> None:
        """Copy until the run ends; whatever fails is one warning."""
        try:
            self._follow()
        except Exception as error:
            logger.warning("the tracker %s failed and is switched off: %r", self.title, error)

    def finish(self, complete: bool) -> None:
        """Let it copy what is left, but do not wait for ever."""
        self.complete = complete
        self._end.set()
        self.join(PATIENCE)
        if self.is_alive():
            logger.warning("the tracker %s is slow and is left behind", self.title)

    def _follow(self) -> None:
        self.place.mkdir(parents=True, exist_ok=True)
        note = self.place / "position"
        position = int(note.read_text()) if note.exists() else 0
        tracker = self.kind(self.folder.path, self.place, self.settings)
        while True:
            last = self._end.wait(PAUSE)
            for event, behind in _events(self.folder.events, position):
                tracker.write(event)
                position = behind
            aside = note.with_suffix(".new")  # renamed, not synced: a disk that trains has better to do
            aside.write_text(str(position))
            aside.replace(note)
            if last:
                break
        tracker.close(self.complete)


def _events(path: Path, position: int) -> Iterator[tuple[dict[str, Any], int]]:
    """The whole lines of the log from a byte position on, each with the position behind it."""
    if not path.exists():
        return
    with path.open("rb") as file:
        file.seek(position)
        for line in file:
            if not line.endswith(b"\n"):
                return
            position += len(line)
            yield json.loads(line), position
