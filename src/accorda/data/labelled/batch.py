"""Labelled rows side by side for one forward pass: padded, one label per row."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from accorda.data.batch import Batch, Segment, pad_batch
from accorda.data.sampler import Batches


@dataclass(frozen=True, eq=False, kw_only=True)
class LabelledSegment(Segment):
    """One tokenised row with its label: the number of its class, or a number. `second`: where a second text begins."""

    label: float
    second: int
    types: bool


@dataclass(frozen=True, eq=False, kw_only=True)
class LabelledBatch(Batch):
    """What one forward pass sees: as a padded batch, and `wanted` (B,), a class or a number per row.

    `num_supervised` counts rows. `token_types` (B, T) is 1 from the second text on, None where the model has no such
    input. Positions are left to the model, which knows where it counts from.
    """

    wanted: Tensor
    token_types: Tensor | None

    def inputs(self) -> dict[str, Any]:
        given = {"attention_mask": self.attention_mask, "token_type_ids": self.token_types}
        return {"input_ids": self.input_ids, **{name: value for name, value in given.items() if value is not None}}

    def to(self, device: torch.device | str) -> "LabelledBatch":
        types = None if self.token_types is None else self.token_types.to(device)
        moved = super().to(device)
        assert isinstance(moved, LabelledBatch)
        return replace(moved, wanted=self.wanted.to(device), token_types=types)


def label_batch(segments: Sequence[LabelledSegment], pad_id: int) -> LabelledBatch:
    """Rows side by side (B, T), padded on the right."""
    padded = pad_batch(segments, pad_id)
    types = None
    if segments[0].types:
        at = np.arange(padded.input_ids.shape[1])
        types = torch.from_numpy(np.stack([(at >= s.second) & (at < len(s)) for s in segments]).astype(np.int64))
    fields: dict[str, Any] = {name: value for name, value in vars(padded).items() if name != "num_supervised"}
    wanted = torch.tensor([segment.label for segment in segments], dtype=torch.float32)
    return LabelledBatch(**fields, num_supervised=len(segments), wanted=wanted, token_types=types)


class LabelledBatches(Batches):
    """The micro-batches of every optimizer step."""

    def together(self, segments: Sequence[Any]) -> LabelledBatch:
        return label_batch(segments, self.pad_id).to(self.device)
