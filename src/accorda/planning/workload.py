"""What goes through a model in one pass, as shapes: how many rows, how long, how many tokens are learned."""

from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from accorda.data.batch import IGNORE_INDEX, Batch, Segment, pack_batch, pad_batch
from accorda.data.labelled.batch import LabelledBatch, LabelledSegment, label_batch
from accorda.data.preferences.batch import PreferenceBatch, compared, preference_batch
from accorda.data.prompts.experience import Experience, Sample, experience
from accorda.models.packing import Side


@dataclass(frozen=True)
class Workload:
    """Rows of one micro-batch: their lengths in tokens, how many of each are learned, and whether they share a line.

    Of an encoder-decoder's rows, the encoder has `encoder_lengths` of those tokens.
    """

    lengths: tuple[int, ...]
    supervised: tuple[int, ...]
    packed: bool
    encoder_lengths: tuple[int, ...] = ()

    @property
    def positions(self) -> int:
        """Tokens of the pass, padding included."""
        if self.packed:
            return sum(self.lengths)
        encoder = self.encoder_lengths or (0,) * len(self.lengths)
        decoder = (length - read for length, read in zip(self.lengths, encoder, strict=True))
        return len(self.lengths) * (max(encoder) + max(decoder))

    @classmethod
    def of(cls, batch: Batch) -> "Workload":
        """The shapes of a real micro-batch."""
        packed = batch.packing is not None
        if batch.decoder_input_ids is not None:
            encoder, supervised = _row_lengths(batch, "encoder"), _learned(batch)
            lengths = tuple(read + 1 + learned for read, learned in zip(encoder, supervised, strict=True))
            return cls(lengths, supervised, packed, encoder)
        if isinstance(batch, PreferenceBatch):
            return PreferenceWorkload.compared(batch)
        lengths = _row_lengths(batch, "decoder")
        if isinstance(batch, Experience):
            return SampledWorkload(lengths, batch.learned, packed)
        share, rest = divmod(batch.num_supervised, len(lengths))
        made = LabelledWorkload if isinstance(batch, LabelledBatch) else cls
        return made(lengths, tuple(share + (row < rest) for row in range(len(lengths))), packed)

    def batch(self, device: torch.device | str = "cpu") -> Batch:
        """A micro-batch of these shapes; whether a row is padded is kept, which tokens are learned is not asked for."""
        encoder = self.encoder_lengths or (0,) * len(self.lengths)
        segments = [_segment(*row) for row in zip(self.lengths, self.supervised, encoder, strict=True)]
        made = pack_batch(segments) if self.packed else pad_batch(segments, pad_id=0)
        if made.attention_mask is not None and len(set(self.encoder_lengths or self.lengths)) == 1:
            made = replace(made, attention_mask=None)  # nothing is padded, which code finds out by looking at values
        filled: dict[str, Any] = {name: _like(value, device) for name, value in vars(made).items()}
        return Shapes(**filled)


class Shapes(Batch):
    """A batch whose tensors have no values."""

    def targets(self) -> tuple[Tensor, Tensor]:
        """Positions and labels, (N,) each."""
        at = torch.zeros(self.num_supervised, dtype=torch.long, device=self.input_ids.device)
        return at, torch.zeros_like(at)


class LabelledWorkload(Workload):
    """Rows of one micro-batch that have a label each."""

    def batch(self, device: torch.device | str = "cpu") -> LabelledBatch:
        segments = [_labelled(length) for length in self.lengths]
        made = label_batch(segments, pad_id=0)
        if len(set(self.lengths)) == 1:
            made = replace(made, attention_mask=None)
        return LabelledBatch(**{name: _like(value, device) for name, value in vars(made).items()})


class SampledWorkload(Workload):
    """Completions of one micro-batch that a policy sampled."""

    def batch(self, device: torch.device | str = "cpu") -> Experience:
        rows = [Sample(**vars(_segment(*row, 0))) for row in zip(self.lengths, self.supervised, strict=True)]
        made = experience(rows, packed=self.packed, pad_id=0)
        if made.attention_mask is not None and len(set(self.lengths)) == 1:
            made = replace(made, attention_mask=None)
        return SampledShapes(**{field.name: _like(getattr(made, field.name), device) for field in fields(made)})


class SampledShapes(Experience):
    """A batch whose tensors have no values."""

    def targets(self) -> tuple[Tensor, Tensor]:
        """Positions and labels, (N,) each."""
        at = torch.zeros(sum(self.learned), dtype=torch.long, device=self.input_ids.device)
        return at, torch.zeros_like(at)


@dataclass(frozen=True)
class PreferenceWorkload(Workload):
    """Answers of one micro-batch, each with its prompt; row after row, `answers` of each, the better ones first."""

    answers: tuple[int, ...] = ()

    @classmethod
    def compared(cls, batch: PreferenceBatch) -> "PreferenceWorkload":
        """The shapes of a real micro-batch."""
        numbers = tuple(len(segment.ranks) for segment in batch.segments)
        return cls(batch.lengths, batch.learned, batch.packing is not None, (), numbers)

    def batch(self, device: torch.device | str = "cpu") -> PreferenceBatch:
        parts = iter(_segment(*row, 0) for row in zip(self.lengths, self.supervised, strict=True))
        rows = [compared([next(parts) for _ in range(number)], range(number)) for number in self.answers]
        made = preference_batch(rows, packed=self.packed, pad_id=0)
        if made.attention_mask is not None and len(set(self.lengths)) == 1:
            made = replace(made, attention_mask=None)
        names = [field.name for field in fields(made)]
        return ComparedShapes(**{name: _like(getattr(made, name), device) for name in names})


class ComparedShapes(PreferenceBatch):
    """A batch whose tensors have no values."""

    def targets(self) -> tuple[Tensor, Tensor]:
        """Positions and labels, (N,) each."""
        at = torch.zeros(sum(self.learned), dtype=torch.long, device=self.input_ids.device)
        return at, torch.zeros_like(at)


def _labelled(length: int) -> LabelledSegment:
    """A row without token types, which cost an addition."""
    plain = _segment(length, 1, 0)
    return LabelledSegment(**vars(plain), label=0.0, second=length, types=False)


def _row_lengths(batch: Batch, side: Side) -> tuple[int, ...]:
    """Tokens of each row that the batch's `input_ids` hold."""
    if batch.packing is not None:
        return tuple(end - begin for begin, end in pairwise(batch.packing.of(side)))
    if batch.attention_mask is not None:
        return tuple(batch.attention_mask.sum(1).tolist())
    return (batch.input_ids.shape[1],) * batch.input_ids.shape[0]


def _learned(batch: Batch) -> tuple[int, ...]:
    """Labels of each row of an encoder-decoder."""
    flags = batch.labels != IGNORE_INDEX
    rows = [flags[0, begin:end] for begin, end in pairwise(batch.packing.borders)] if batch.packing else list(flags)
    return tuple(int(row.sum()) for row in rows)


def _segment(length: int, supervised: int, encoder_length: int) -> Segment:
    learned = np.arange(length) >= length - supervised
    return Segment(0, np.zeros(length, np.int32), learned, "", 0, encoder_length)


def _like(value: Any, device: torch.device | str) -> Any:
    return torch.zeros(value.shape, dtype=value.dtype, device=device) if isinstance(value, Tensor) else value
