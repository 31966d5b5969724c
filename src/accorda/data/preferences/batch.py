"""Compared answers put together for one forward pass: every answer is a segment, the answers of a row stay together."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from accorda.data.batch import Batch, Segment, pack_batch, pad_batch
from accorda.data.sampler import Batches


@dataclass(frozen=True, eq=False, kw_only=True)
class PreferenceSegment(Segment):
    """One row: its answers end to end, each behind the prompt. `borders` are 0, the ends of the answers, and so T."""

    borders: tuple[int, ...]
    ranks: tuple[int, ...]
    """Of each answer, 0 is best; of a single one 0 says liked, 1 not."""
    margin: float = 0.0

    @cached_property
    def answers(self) -> tuple[Segment, ...]:
        """Each answer behind its prompt, as a segment."""
        return tuple(
            Segment(self.index, self.input_ids[start:end], self.supervised[start:end], self.file, self.line)
            for start, end in pairwise(self.borders)
        )

    @property
    def best(self) -> Segment:
        """The answer of the lowest rank."""
        return self.answers[self.ranks.index(min(self.ranks))]

    @property
    def prompt_length(self) -> int:
        """Tokens in front of each answer."""
        return int(np.argmax(self.supervised))


def compared(answers: Sequence[Segment], ranks: Sequence[int], margin: float = 0.0) -> PreferenceSegment:
    """Answers of one row end to end."""
    return PreferenceSegment(
        answers[0].index,
        np.concatenate([answer.input_ids for answer in answers]),
        np.concatenate([answer.supervised for answer in answers]),
        answers[0].file,
        answers[0].line,
        borders=(0, *accumulate(map(len, answers))),
        ranks=tuple(ranks),
        margin=margin,
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class PreferenceBatch(Batch):
    """What one forward pass sees: as a packed or padded batch of answers; `num_supervised` counts rows.

    `learned` are the labels of each answer, in the order of `targets()`; `lengths` its tokens, prompt included.
    """

    learned: tuple[int, ...]
    lengths: tuple[int, ...]
    segments: tuple[PreferenceSegment, ...]

    @cached_property
    def pairs(self) -> list[tuple[int, int, int]]:
        """(row, answer, answer that is worse) for every strict pair; answers are numbered through the batch."""
        found, first = [], 0
        for row, segment in enumerate(self.segments):
            ranks = list(enumerate(segment.ranks, first))
            found += [(row, better, worse) for better, one in ranks for worse, other in ranks if one < other]
            first += len(ranks)
        return found


def preference_batch(segments: Sequence[PreferenceSegment], *, packed: bool, pad_id: int) -> PreferenceBatch:
    """Rows in one forward pass, their answers end to end or side by side."""
    answers = [answer for segment in segments for answer in segment.answers]
    plain = pack_batch(answers) if packed else pad_batch(answers, pad_id)
    fields: dict[str, Any] = vars(plain) | {"rows": tuple(s.index for s in segments), "num_supervised": len(segments)}
    return PreferenceBatch(
        **fields,
        learned=tuple(int(answer.supervised[1:].sum()) for answer in answers),
        lengths=tuple(map(len, answers)),
        segments=tuple(segments),
    )


class PreferenceBatches(Batches):
    """The micro-batches of every optimizer step; `batch_size` counts rows."""

    def together(self, segments: Sequence[Any]) -> PreferenceBatch:
        made = preference_batch(segments, packed=self.packed, pad_id=self.pad_id).to(self.device)
        assert isinstance(made, PreferenceBatch)
        return made

    def sides(self, rows: np.ndarray) -> list[tuple[int, int]]:
        """A row is as wide as its longest answer, times its answers."""
        found = [self.dataset[int(row)] for row in rows]
        return [(0, len(s.ranks) * max(map(len, s.answers))) for s in found if isinstance(s, PreferenceSegment)]


def mismatched(segments: Sequence[PreferenceSegment], places: Sequence[int], longest: int) -> list[PreferenceSegment]:
    """The prompt of each row, of one answer each, in front of the answer of the row at its place, cut to `longest`."""
    found = []
    for segment, place in zip(segments, places, strict=True):
        other, prompt = segments[place], segment.prompt_length
        ids = np.concatenate([segment.input_ids[:prompt], other.input_ids[other.prompt_length :]])[:longest]
        learned = np.arange(len(ids)) >= prompt
        found.append(compared([replace(segment.answers[0], input_ids=ids, supervised=learned)], segment.ranks))
    return found
