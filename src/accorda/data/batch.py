"""Tokenised rows put together for one forward pass: end to end (packed) or side by side (padded)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from accorda.models.packing import Packing

IGNORE_INDEX = -100
"""A label that is no target; the value torch's cross entropy ignores."""


@dataclass(frozen=True, eq=False)
class Segment:
    """One tokenised row: ids (T,) int32 and which of them are trained on (T,) bool, with its place in the source."""

    index: int
    input_ids: np.ndarray
    supervised: np.ndarray
    file: str
    line: int

    def __len__(self) -> int:
        return len(self.input_ids)


@dataclass(frozen=True, eq=False)
class Batch:
    """What one forward pass sees.

    Shapes: `input_ids`, `labels`, `position_ids` and `attention_mask` are (B, T), int64. Labels stand at their own
    token (unshifted) and are `IGNORE_INDEX` where nothing is learned: at prompts, at padding (by position, never by
    id) and at the first token of every row, which nothing predicts. A packed batch has B = 1 and `packing`, a padded
    one has `attention_mask`. `rows` are the dataset's indices in the order in which they stand here.
    """

    input_ids: Tensor
    labels: Tensor
    position_ids: Tensor
    attention_mask: Tensor | None
    packing: Packing | None
    rows: tuple[int, ...]
    num_tokens: int
    num_supervised: int

    def inputs(self) -> dict[str, Any]:
        """The keyword arguments of `model(...)`."""
        given = {"attention_mask": self.attention_mask, "packing": self.packing}
        return {
            "input_ids": self.input_ids,
            "position_ids": self.position_ids,
            **{name: value for name, value in given.items() if value is not None},
        }

    def targets(self) -> tuple[Tensor, Tensor]:
        """Where the model predicts a supervised token, and that token.

        Returns positions (N,) into the hidden states flattened to (B*T, D), and labels (N,): N is `num_supervised`.
        Position p holds the state that predicts token p + 1, and both are of one row, as no row's first token counts.
        """
        labels = self.labels.reshape(-1)
        at = torch.nonzero(labels != IGNORE_INDEX).squeeze(1)
        return at - 1, labels[at]

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch with its tensors on `device`."""
        mask = None if self.attention_mask is None else self.attention_mask.to(device)
        return replace(
            self,
            input_ids=self.input_ids.to(device),
            labels=self.labels.to(device),
            position_ids=self.position_ids.to(device),
            attention_mask=mask,
        )


def pack_batch(segments: Sequence[Segment]) -> Batch:
    """Rows end to end in one line (1, T); `packing.borders` are 0, the ends of the rows, and so T."""
    borders = np.cumsum([0, *map(len, segments)])
    return Batch(
        input_ids=_tensor(np.concatenate([s.input_ids for s in segments]))[None],
        labels=_tensor(np.concatenate([_labels(s) for s in segments]))[None],
        position_ids=_tensor(np.concatenate([np.arange(len(s)) for s in segments]))[None],
        attention_mask=None,
        packing=Packing(tuple(int(border) for border in borders)),
        rows=tuple(s.index for s in segments),
        num_tokens=int(borders[-1]),
        num_supervised=_num_targets(segments),
    )


def pad_batch(segments: Sequence[Segment], pad_id: int) -> Batch:
    """Rows side by side (B, T), padded on the right with `pad_id`, which the mask and the labels leave out."""
    lengths = np.array([len(s) for s in segments])
    shape = (len(segments), int(lengths.max()))
    ids, labels = np.full(shape, pad_id, np.int64), np.full(shape, IGNORE_INDEX, np.int64)
    for row, segment in enumerate(segments):
        ids[row, : len(segment)] = segment.input_ids
        labels[row, : len(segment)] = _labels(segment)
    positions = np.broadcast_to(np.arange(shape[1]), shape)
    return Batch(
        input_ids=_tensor(ids),
        labels=_tensor(labels),
        position_ids=_tensor(positions),
        attention_mask=_tensor(positions < lengths[:, None]),
        packing=None,
        rows=tuple(s.index for s in segments),
        num_tokens=int(lengths.sum()),
        num_supervised=_num_targets(segments),
    )


def _labels(segment: Segment) -> np.ndarray:
    labels = np.where(segment.supervised, segment.input_ids, IGNORE_INDEX).astype(np.int64)
    labels[:1] = IGNORE_INDEX
    return labels


def _num_targets(segments: Sequence[Segment]) -> int:
    return sum(int(np.count_nonzero(s.supervised[1:])) for s in segments)


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(values, np.int64))
