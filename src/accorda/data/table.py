"""The tokenised sources of one setting, and a table of all their rows, or of the blocks cut out of them."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from accorda.data.dataset import Part
from accorda.data.example import Kind, digest
from accorda.data.overlong import SPAN, span_lengths
from accorda.data.settings import Settings, Split
from accorda.data.sources import Origin, no_rows, origins
from accorda.data.store import Store, store_root
from accorda.data.tokenise import tokenised
from accorda.errors import Refusal
from accorda.recipe.words import several

logger = logging.getLogger(__name__)


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
        if len(self.stores) == 1:
            return self.stores[0].rows[name][spans["row"]].astype(np.int64, copy=False)
        values = np.zeros(len(spans), np.int64)
        for part, store in enumerate(self.stores):
            mine = spans["part"] == part
            values[mine] = store.rows[name][spans["row"][mine]]
        return values

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
    blocks = settings.max_length if settings.stage == "pretrain" else None
    found = [
        _rows(store, part) if blocks is None else _blocks(store, part, blocks) for part, store in enumerate(stores)
    ]
    spans, digests = found[0] if len(found) == 1 else (np.concatenate(columns) for columns in zip(*found, strict=True))
    return Table(listed, stores, spans, digests, two_sides)


def _none_readable(listed: Sequence[Origin], stores: Sequence[Store], setting: str) -> Refusal:
    """That no row of any source can be read, where those that cannot are left out."""
    number = sum(store.num_bad for store in stores)
    place, line, reason = next((o.shown, *store.bad[0]) for o, store in zip(listed, stores, strict=True) if store.bad)
    return Refusal(
        f"data.{setting}: {several(number, 'row')}, and none can be read; the first is {place}:{line}: {reason}"
    )


def _rows(store: Store, part: int) -> tuple[np.ndarray, np.ndarray]:
    rows = store.rows
    return _spans(part, np.arange(len(store)), rows["start"][:-1], rows["start"][1:]), np.array(rows["digest"][:-1])


def _blocks(store: Store, part: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """All tokens end to end, cut every `length`; a last piece of one token, which predicts nothing, is dropped."""
    starts = np.arange(0, max(len(store.ids) - 1, 0), length)
    ends = np.minimum(starts + length, len(store.ids))
    rows = np.searchsorted(store.rows["start"][:-1], starts, side="right") - 1
    digests = [digest(store.ids[start:end].tobytes()) for start, end in zip(starts, ends, strict=True)]
    return _spans(part, rows, starts, ends), np.array(digests, np.uint64)


def _spans(part: int, rows: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    spans = np.zeros(len(rows), SPAN)
    spans["part"], spans["row"], spans["start"], spans["cut"], spans["end"] = part, rows, starts, starts, ends
    return spans
