"""What goes through a model in one pass, as shapes: how many rows, how long, how many tokens are learned."""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from accorda.data.batch import Batch, Segment, pack_batch, pad_batch
from accorda.data.labelled.batch import LabelledBatch, LabelledSegment, label_batch


@dataclass(frozen=True)
class Workload:
    """Rows of one micro-batch: their lengths in tokens, how many of each are learned, and whether they share a line."""

    lengths: tuple[int, ...]
    supervised: tuple[int, ...]
    packed: bool

    @property
    def positions(self) -> int:
        """Tokens of the pass, padding included."""
        return sum(self.lengths) if self.packed else len(self.lengths) * max(self.lengths)

    @classmethod
    def of(cls, batch: Batch) -> "Workload":
        """The shapes of a real micro-batch."""
        if batch.packing is not None:
            borders = batch.packing.borders
            lengths = [end - begin for begin, end in pairwise(borders)]
        elif batch.attention_mask is not None:
            lengths = batch.attention_mask.sum(1).tolist()
        else:
            lengths = [batch.input_ids.shape[1]] * batch.input_ids.shape[0]
        share, rest = divmod(batch.num_supervised, len(lengths))
        made = LabelledWorkload if isinstance(batch, LabelledBatch) else cls
        return made(
            tuple(lengths), tuple(share + (row < rest) for row in range(len(lengths))), batch.packing is not None
        )

    def batch(self, device: torch.device | str = "cpu") -> Batch:
        """A micro-batch of these shapes; whether a row is padded is kept, which tokens are learned is not asked for."""
        segments = [_segment(*row) for row in zip(self.lengths, self.supervised, strict=True)]
        made = pack_batch(segments) if self.packed else pad_batch(segments, pad_id=0)
        if made.attention_mask is not None and len(set(self.lengths)) == 1:
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


def _labelled(length: int) -> LabelledSegment:
    """A row without token types, which cost an addition."""
    plain = _segment(length, 1)
    return LabelledSegment(**vars(plain), label=0.0, second=length, types=False)


def _segment(length: int, supervised: int) -> Segment:
    learned = np.arange(length) >= length - supervised
    return Segment(0, np.zeros(length, np.int32), learned, "", 0)


def _like(value: Any, device: torch.device | str) -> Any:
    return torch.zeros(value.shape, dtype=value.dtype, device=device) if isinstance(value, Tensor) else value
