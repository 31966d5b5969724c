"""Tokenised rows put together for one forward pass: end to end (packed) or side by side (padded).

A row of an encoder-decoder has two sides: the encoder reads the one, the other is learned. Each side is put together as
the row of a decoder is.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from accorda.models.packing import Packing

IGNORE_INDEX = -100
"""A label that is no target; the value torch's cross entropy ignores."""


@dataclass(frozen=True, eq=False)
class Segment:
    """One tokenised row: ids (T,) int32 and which of them are trained on (T,) bool, with its place in the source.

    Of an encoder-decoder's row the encoder reads the first `encoder_length` ids; the decoder's side begins with its
    start token.
    """

    index: int
    input_ids: np.ndarray
    supervised: np.ndarray
    file: str
    line: int
    encoder_length: int = 0

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def encoder_ids(self) -> np.ndarray:
        """What the encoder reads, (S,); nothing where there is none."""
        return self.input_ids[: self.encoder_length]

    @property
    def decoder_ids(self) -> np.ndarray:
        """What stands in the decoder, (T,); a model of one stack is its own."""
        return self.input_ids[self.encoder_length :]


@dataclass(frozen=True, eq=False)
class Batch:
    """What one forward pass sees.

    Shapes: `input_ids`, `labels`, `position_ids` and `attention_mask` are (B, T), int64. Labels stand at their own
    token (unshifted) and are `IGNORE_INDEX` where nothing is learned: at prompts, at padding (by position, never by
    id) and at the first token of every row, which nothing predicts. A packed batch has B = 1 and `packing`, a padded
    one has `attention_mask`. `rows` are the dataset's indices in the order in which they stand here.

    Of an encoder-decoder, `input_ids`, `position_ids` and `attention_mask` are the encoder's, (B, S), and labels stand
    at `decoder_input_ids` (B, T), whose padding needs no mask: it comes last, where nobody looks.
    """

    input_ids: Tensor
    labels: Tensor
    position_ids: Tensor
    attention_mask: Tensor | None
    packing: Packing | None
    rows: tuple[int, ...]
    num_tokens: int
    num_supervised: int
    decoder_input_ids: Tensor | None = None

    @property
    def learned_ids(self) -> Tensor:
        """The ids (B, T) that labels stand at: the decoder's."""
        return self.input_ids if self.decoder_input_ids is None else self.decoder_input_ids

    def inputs(self) -> dict[str, Any]:
        """The keyword arguments of `model(...)`; an encoder-decoder counts positions itself."""
        positions = self.position_ids if self.decoder_input_ids is None else None
        given = {
            "input_ids": self.input_ids,
            "position_ids": positions,
            "decoder_input_ids": self.decoder_input_ids,
            "attention_mask": self.attention_mask,
            "packing": self.packing,
        }
        return {name: value for name, value in given.items() if value is not None}

    def targets(self) -> tuple[Tensor, Tensor]:
        """Where the model predicts a supervised token, and that token.

        Returns positions (N,) into the (decoder's) hidden states flattened to (B*T, D), and labels (N,): N is
        `num_supervised`.
        Position p holds the state that predicts token p + 1, and both are of one row, as no row's first token counts.
        """
        labels = self.labels.reshape(-1)
        at = torch.nonzero(labels != IGNORE_INDEX).squeeze(1)
        return at - 1, labels[at]

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch with its tensors on `device`."""
        moved = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **cast(dict[str, Any], moved))


def pack_batch(segments: Sequence[Segment]) -> Batch:
    """Rows end to end in one line (1, T); `packing.borders` are 0, the ends of the rows, and so T."""
    read, written = _sides(segments)
    return Batch(
        input_ids=_tensor(np.concatenate(read))[None],
        labels=_tensor(np.concatenate([_labels(s) for s in segments]))[None],
        position_ids=_tensor(np.concatenate([np.arange(len(ids)) for ids in read]))[None],
        attention_mask=None,
        packing=Packing(_borders(written or read), _borders(read) if written else None),
        rows=tuple(s.index for s in segments),
        num_tokens=sum(map(len, segments)),
        num_supervised=_num_targets(segments),
        decoder_input_ids=_tensor(np.concatenate(written))[None] if written else None,
    )


def pad_batch(segments: Sequence[Segment], pad_id: int) -> Batch:
    """Rows side by side (B, T), padded on the right with `pad_id`, which the mask and the labels leave out."""
    read, written = _sides(segments)
    ids, lengths = _padded(read, pad_id), np.array([len(row) for row in read])
    positions = np.broadcast_to(np.arange(ids.shape[1]), ids.shape)
    return Batch(
        input_ids=_tensor(ids),
        labels=_tensor(_padded([_labels(s) for s in segments], IGNORE_INDEX)),
        position_ids=_tensor(positions),
        attention_mask=_tensor(positions < lengths[:, None]),
        packing=None,
        rows=tuple(s.index for s in segments),
        num_tokens=sum(map(len, segments)),
        num_supervised=_num_targets(segments),
        decoder_input_ids=_tensor(_padded(written, pad_id)) if written else None,
    )


def _sides(segments: Sequence[Segment]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The ids that enter the first stack, row by row, and those of the second; no rows where there is none."""
    if segments[0].encoder_length:
        return [s.encoder_ids for s in segments], [s.decoder_ids for s in segments]
    return [s.input_ids for s in segments], []


def _borders(rows: Sequence[np.ndarray]) -> tuple[int, ...]:
    return (0, *accumulate(map(len, rows)))


def _padded(rows: Sequence[np.ndarray], fill: int) -> np.ndarray:
    """Rows of different lengths as (B, T), `fill` behind the shorter ones."""
    padded = np.full((len(rows), max(map(len, rows))), fill, np.int64)
    for number, row in enumerate(rows):
        padded[number, : len(row)] = row
    return padded


def _labels(segment: Segment) -> np.ndarray:
    """Of the decoder's side, (T,)."""
    labels = np.where(segment.supervised, segment.input_ids, IGNORE_INDEX).astype(np.int64)[segment.encoder_length :]
    labels[:1] = IGNORE_INDEX
    return labels


def _num_targets(segments: Sequence[Segment]) -> int:
    return sum(int(np.count_nonzero(s.supervised[s.encoder_length + 1 :])) for s in segments)


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(values, np.int64))
