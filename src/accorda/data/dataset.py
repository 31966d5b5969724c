"""Tokenised rows as training and evaluation see them: an index over memory-mapped stores."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from accorda.data.batch import Segment
from accorda.data.example import Example
from accorda.data.overlong import span_lengths
from accorda.data.spill import forget, kept, pieces
from accorda.data.store import Store


@dataclass(frozen=True, kw_only=True)
class DataReport:
    """What became of the rows of one split. Lengths and counts are in tokens.

    `rows`: seen = kept + skipped (bad) + overlong (left out by policy); truncated ones are kept. `lengths` are those
    before the policy, of the longer side where rows have two. A row that weights repeat counts once.
    """

    split: str
    sources: list[dict[str, Any]]
    template: str | None
    rows: dict[str, int]
    lengths: dict[str, int]
    max_length: int
    overlong: str
    tokens: int
    supervised_tokens: int
    supervised_tokens_lost: int
    bad_rows: list[dict[str, Any]] = field(default_factory=list)
    overlong_rows: list[dict[str, Any]] = field(default_factory=list)
    labels: dict[str, float] | None = None
    """Of labelled rows: how often each class occurs, or the least, mean and most of a number."""
    known_prompts: int | None = None
    """Of compared answers held out: how many rows ask what a row of training asks."""

    @property
    def supervised_share(self) -> float:
        """Supervised tokens over all tokens kept."""
        return self.supervised_tokens / max(self.tokens, 1)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "supervised_share": self.supervised_share}


@dataclass(frozen=True)
class Part:
    """A store and the name of the file it came from."""

    shown: str
    store: Store


def column(stores: Sequence[Store], name: str, spans: np.ndarray) -> np.ndarray:
    """A column of the stores' tables, for each span (n,): numbers in 64 bits."""
    found = np.zeros(len(spans), np.uint64 if name == "digest" else np.int64)
    for part, store in enumerate(stores):
        mine = spans["part"] == part
        found[mine] = store.rows[name][spans["row"][mine]]
        forget(store.rows)
    return found


class Dataset:
    """Rows by number. `everything`: every token is supervised, whatever the store says (pretraining).

    `two_sides`: what stands before a row's completion is its encoder's side.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        spans: np.ndarray,
        report: DataReport,
        everything: bool = False,
        two_sides: bool = False,
    ):
        self.parts = parts
        self.spans = spans
        self.report = report
        self.everything = everything
        self._lengths = kept(map(self._sizes_of, pieces(spans)), np.int64)
        self.two_sides = two_sides
        self.encoder_lengths = np.zeros(len(spans), np.int64)
        """Tokens that the encoder reads, per row, (n,); 0 where there is no encoder."""
        if two_sides:
            self.encoder_lengths = kept(map(self._prompt_lengths, pieces(spans)), np.int64)

    def __len__(self) -> int:
        return len(self.spans)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens per row, (n,)."""
        return self._lengths

    @property
    def longest(self) -> int:
        """Tokens of the longest row, or side of a row: what `max_length` bounds."""
        sides = zip(pieces(self.encoder_lengths), pieces(self.lengths), strict=True)
        return max(int(np.maximum(encoder, whole - encoder).max()) for encoder, whole in sides)

    def __getitem__(self, index: int) -> Segment:
        """Row `index` as ids and labels."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        span = self.spans[index]
        part = self.parts[span["part"]]
        ids = self._tokens(part.store.ids, span)
        supervised = np.ones(len(ids), np.bool_) if self.everything else self._tokens(part.store.supervised, span)
        line = int(part.store.rows["line"][span["row"]])
        row = int(index) % len(self)
        return Segment(row, ids, supervised, part.shown, line, int(self.encoder_lengths[row]))

    def _sizes_of(self, spans: np.ndarray) -> np.ndarray:
        """Tokens of each row, (n,)."""
        return span_lengths(spans)

    def _prompt_lengths(self, spans: np.ndarray) -> np.ndarray:
        """Ids in front of every row's last completion, less what was cut of them, (n,)."""
        return spans["head"] + spans["start"] - spans["cut"] + self._column("prompt", spans)

    def _column(self, name: str, spans: np.ndarray) -> np.ndarray:
        """What the stores' tables say of each span, (n,)."""
        return column([part.store for part in self.parts], name, spans)

    def _tokens(self, values: np.ndarray, span: np.void) -> np.ndarray:
        head = values[span["start"] : span["start"] + span["head"]]
        return np.concatenate([head, values[span["cut"] : span["end"]]])

    def example(self, index: int) -> Example:
        """The content of row `index`, to the end of what is learned of it."""
        span = self.spans[index]
        part = self.parts[span["part"]]
        return Example.from_dict(
            part.store.example(int(span["row"])), part.shown, int(part.store.rows["line"][span["row"]])
        )

    def prompt_ids(self, index: int) -> list[int]:
        """The ids in front of the last completion of row `index`, as it is trained on: cut where the row is cut."""
        span = self.spans[index]
        removed = span["cut"] - span["start"] - span["head"]
        prompt = self.parts[span["part"]].store.rows["prompt"][span["row"]]
        return self[index].input_ids[: prompt - removed].tolist()

    @property
    def digests(self) -> np.ndarray:
        """What identifies the content of every row, (n,): equal for equal rows, whatever file they stand in."""
        return kept((self._column("digest", piece) for piece in pieces(self.spans)), np.uint64)

    @cached_property
    def hash(self) -> str:
        """SHA-256 of every row's tokens and labels, in order."""
        content = hashlib.sha256(json.dumps([part.store.digest for part in self.parts]).encode())
        for piece in pieces(self.spans):
            content.update(np.ascontiguousarray(piece).tobytes())
        content.update(b"everything" if self.everything else b"")
        return content.hexdigest()
