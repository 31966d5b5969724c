"""The tokenised sources of one setting, and a table of all their rows, or of the blocks cut out of them."""

import logging
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from accorda.data.dataset import Part, column
from accorda.data.example import Kind, digest
from accorda.data.overlong import SPAN, span_lengths
from accorda.data.settings import Settings, Split
from accorda.data.sources import Origin, no_rows, origins
from accorda.data.spill import forget, kept, pieces
from accorda.data.store import Store, store_root
from accorda.data.tokenise import tokenised
from accorda.errors import Refusal
from accorda.recipe.words import several

logger = logging.getLogger(__name__)
BLOCKS = 1 << 10
"""Blocks that are cut, or read, together."""


@dataclass(frozen=True, eq=False)
class Table:
    """Spans (n,) of whole rows or blocks, a digest of the content of each, and the stores they lie in.

    `two_sides`: the prompt of a row is its encoder's side.
    """

    origins: Sequence[Origin]
    stores: Sequence[Store]
    spans: np.ndarray
    digests: np.ndarray
    two_sides: bool = False

    @property
    def parts(self) -> list[Part]:
        """The stores with the names of their files."""
        return [Part(origin.shown, store) for origin, store in zip(self.origins, self.stores, strict=True)]

    def column(self, name: str, spans: np.ndarray) -> np.ndarray:
        """A column of the stores' tables, for each span (n,)."""
        return column(self.stores, name, spans)

    def sizes(self, spans: np.ndarray) -> np.ndarray:
        """What `max_length` bounds, for each span (n,): its tokens, or those of its longer side."""
        lengths = span_lengths(spans)
        if not self.two_sides:
            return lengths
        encoder = self.column("prompt", spans)
        return np.maximum(encoder, lengths - encoder)

    def place(self, span: np.void) -> tuple[str, int]:
        """File and line of a span."""
        return self.origins[span["part"]].shown, int(self.stores[span["part"]].rows["line"][span["row"]])


def load(settings: Settings, setting: Split) -> Table:
    """Tokenise what `data.train` or `data.eval` names; a limit counts rows over the sources in their order."""
    section, renderer = settings.section, settings.renderer
    strict = settings.strict and section.on_bad_row == "error"
    listed = origins(section, setting)
    if not listed:
        raise Refusal(f"data.{setting}: no data given; name a file, e.g. --data FILE")
    two_sides = renderer.two_sides is not None
    if two_sides and settings.stage == "pretrain":
        raise Refusal("stage = pretrain: running text has no answer for a decoder to write; tune it with stage=sft")
    root, stores = store_root(settings.store_folder), list[Store]()
    left = {"train": section.limit, "eval": section.eval_limit}[setting]
    empty = list[str]()
    for origin in listed:
        stores.append(tokenised(origin, renderer, root, limit=left, strict=strict))
        empty += [origin.shown] if left != 0 and not stores[-1].num_seen else []
        left = None if left is None else max(0, left - stores[-1].num_seen)
    filled = [store for store in stores if len(store)]
    if not any(store.num_seen for store in stores):
        raise no_rows(listed, f"data.{setting}")
    if empty:
        logger.warning("data.%s: no row in %s; the rows are those of the other files", setting, ", ".join(empty))
    if not filled and settings.strict:
        raise _none_readable(listed, stores, setting)
    if filled and renderer.kind is None:
        renderer.kind = cast(Kind, filled[0].kind.partition("/")[0])
    if settings.stage == "pretrain":
        spans = kept(_blocks(stores, settings.max_length), SPAN)
        digests = kept((_contents(stores, piece) for piece in pieces(spans)), np.uint64)
    else:
        spans = kept(_rows(stores), SPAN)
        digests = kept((piece for store in stores for piece in pieces(store.rows["digest"][:-1])), np.uint64)
    return Table(listed, stores, spans, digests, two_sides)


def _none_readable(listed: Sequence[Origin], stores: Sequence[Store], setting: str) -> Refusal:
    """That no row of any source can be read, where those that cannot are left out."""
    number = sum(store.num_bad for store in stores)
    place, line, reason = next((o.shown, *store.bad[0]) for o, store in zip(listed, stores, strict=True) if store.bad)
    return Refusal(
        f"data.{setting}: {several(number, 'row')}, and none can be read; the first is {place}:{line}: {reason}"
    )


def _rows(stores: Sequence[Store]) -> Iterator[np.ndarray]:
    """Every row whole."""
    for part, store in enumerate(stores):
        starts, number = store.rows["start"], 0
        for piece, ends in zip(pieces(starts[:-1]), pieces(starts[1:]), strict=True):
            yield _spans(part, np.arange(number, number + len(piece)), piece, ends)
            number += len(piece)


def _blocks(stores: Sequence[Store], length: int) -> Iterator[np.ndarray]:
    """All tokens end to end, cut every `length`; a last piece of one token, which predicts nothing, is dropped."""
    for part, store in enumerate(stores):
        begins = store.rows["start"][:-1]
        for first in range(0, max(len(store.ids) - 1, 0), length * BLOCKS):
            starts = np.arange(first, min(first + length * BLOCKS, len(store.ids) - 1), length)
            low, high = (bisect_right(begins, start) for start in starts[[0, -1]])
            rows = low - 1 + np.searchsorted(begins[low - 1 : high], starts, side="right") - 1
            yield _spans(part, rows, starts, np.minimum(starts + length, len(store.ids)))
            forget(store.rows)


def _contents(stores: Sequence[Store], spans: np.ndarray) -> np.ndarray:
    """A digest of the tokens of each block."""
    found = np.zeros(len(spans), np.uint64)
    for number, span in enumerate(spans):
        ids = stores[span["part"]].ids
        found[number] = digest(ids[span["start"] : span["end"]].tobytes())
        if number % BLOCKS == 0:
            forget(ids)
    for store in stores:
        forget(store.ids)
    return found


def _spans(part: int, rows: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    spans = np.zeros(len(rows), SPAN)
    spans["part"], spans["row"], spans["start"], spans["cut"], spans["end"] = part, rows, starts, starts, ends
    return spans
