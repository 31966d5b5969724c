"""A source's rows into a token store, or out of the one that already holds them."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from accorda.data.example import BadRow, Example, RowError
from accorda.data.formats import Mapped
from accorda.data.identity import store_key
from accorda.data.read import RawRow
from accorda.data.renderer import Renderer
from accorda.data.sources import Origin
from accorda.data.store import Store, Writer, made, opened
from accorda.errors import Refusal

CHUNK = 512
LISTED = 1000
"""How many bad rows a store lists; it counts them all."""


def tokenised(origin: Origin, renderer: Renderer, root: Path, *, limit: int | None, strict: bool) -> Store:
    """The store of a source. `strict`: a bad row is a `Refusal`, and nothing is kept."""
    content = origin.digest()
    key = store_key(origin, content, renderer, limit)
    store = opened(key, root)
    if store is None:
        with _new_objects_alone():
            store = made(key, root, Filling(origin, renderer, limit, strict, content))
    if strict and store.num_bad:
        raise refusal(origin.shown, store.bad, store.num_bad)
    return store


@contextmanager
def _new_objects_alone() -> Iterator[None]:
    """The garbage collector looks at what is made inside and not again and again at all that stands there already."""
    if gc.get_freeze_count():
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def refusal(shown: str, bad: Any, count: int) -> Refusal:
    """One line for all bad rows: the first, and how many more."""
    line, reason = bad[0]
    more = f" (and {count - 1} more bad row{'s' * (count > 2)})" if count > 1 else ""
    return Refusal(f"{BadRow(shown, line, reason)}{more}; mend the data or say data.on_bad_row=skip")


@dataclass
class Filling:
    """Writes one source into a store: reads, parses and renders it in chunks, and collects what is wrong."""

    origin: Origin
    renderer: Renderer
    limit: int | None
    strict: bool
    digest: str
    seen: int = 0
    num_bad: int = 0
    bad: list[tuple[int, str]] = field(default_factory=list)
    mapped: Mapped | None = None
    kinds: set[str] = field(default_factory=set)

    def __call__(self, writer: Writer) -> dict[str, Any]:
        """Fill the store; returns its description."""
        for chunk in _chunks(islice(self.origin.read(), self.limit)):
            parsed = [(line, example) for _, line, row in chunk if (example := self._parse(line, row))]
            if not (self.strict and self.num_bad):  # the rest is only counted
                self._write(writer, parsed)
        if self.strict and self.num_bad:
            raise refusal(self.origin.shown, sorted(self.bad), self.num_bad)
        if self.origin.digest() != self.digest:
            raise Refusal(f"{self.origin.shown}: it changed while it was read; try again")
        return {
            "format": self.mapped.name if self.mapped else self.origin.format,
            "columns": dict(self.mapped.columns) if self.mapped else {},
            "kind": "/".join(sorted(self.kinds)),
            "num_seen": self.seen,
            "num_bad": self.num_bad,
            "bad": sorted(self.bad),
        }

    def _parse(self, line: int, row: Any) -> tuple[Example, str] | None:
        self.seen += 1
        if isinstance(row, BadRow):
            return self._complain(line, row.reason)
        if self.mapped is None:
            place = f"{self.origin.shown}:{line}"
            self.mapped = self.renderer.reads(row, place, name=self.origin.format, columns=self.origin.columns)
        try:
            example = self.renderer.trimmed(self.mapped.parse(row))
            return example, example.to_json()
        except RowError as error:
            return self._complain(line, str(error))

    def _write(self, writer: Writer, parsed: list[tuple[int, tuple[Example, str]]]) -> None:
        rendered = self.renderer.render_many([example for _, (example, _) in parsed])
        for (line, (example, content)), row in zip(parsed, rendered, strict=True):
            if isinstance(row, RowError):
                self._complain(line, str(row))
            else:
                self.kinds.add(example.kind)
                writer.add(row, content, line)

    def _complain(self, line: int, reason: str) -> None:
        self.num_bad += 1
        if len(self.bad) < LISTED:
            self.bad.append((line, reason))


def _chunks(rows: Iterator[RawRow]) -> Iterator[list[RawRow]]:
    while chunk := list(islice(rows, CHUNK)):
        yield chunk
