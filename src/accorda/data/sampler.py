"""Which rows an optimizer step sees, and in which forward passes: pure functions, so nothing has to be stored.

The order depends on (seed, epoch, row index) alone. Ranks, packing, micro-batches and resume cannot change it.
"""

from collections.abc import Sequence
from math import ceil
from typing import Protocol

import numpy as np
import torch

from accorda.data.batch import Batch, Segment, pack_batch, pad_batch
from accorda.data.order import order
from accorda.data.packing import best_fit_decreasing
from accorda.data.spill import forget


class Segments(Protocol):
    """Anything with tokenised rows and their lengths in tokens, and how many of those an encoder reads."""

    @property
    def lengths(self) -> np.ndarray: ...

    @property
    def encoder_lengths(self) -> np.ndarray: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Segment: ...


class Batches:
    """The micro-batches of every optimizer step.

    `batch_size` counts rows per step over all ranks; the last step of an epoch takes what is left. With `packed` a
    step's rows share lines of at most `micro_tokens` tokens, else they are sorted by length and padded to at most that
    many, padding included; a row that is longer goes alone. Of rows with two sides both
    count. The micro-batches of a step are the same for every number of ranks (`world`): rank r takes numbers r,
    r + world, ..., which may be none.
    """

    def __init__(
        self,
        dataset: Segments,
        *,
        batch_size: int,
        micro_tokens: int,
        packed: bool,
        pad_id: int = 0,
        seed: int = 0,
        device: torch.device | str = "cpu",
        shard: tuple[int, int] = (0, 1),
    ):
        if len(dataset) == 0:
            raise ValueError("no rows to make batches of")
        self.dataset = dataset
        self.batch_size = batch_size
        self.micro_tokens = micro_tokens
        self.packed = packed
        self.pad_id = pad_id
        self.seed = seed
        self.device = device
        self.rank, self.world = shard
        self._epoch: tuple[int, np.ndarray] | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one pass over the rows."""
        return ceil(len(self.dataset) / self.batch_size)

    def num_steps(self, epochs: float) -> int:
        """Optimizer steps in `epochs` passes, at least one."""
        return max(1, ceil(epochs * self.steps_per_epoch))

    def rows(self, step: int) -> np.ndarray:
        """The rows of optimizer step `step`, counted from 0, over all ranks."""
        epoch, within = divmod(step, self.steps_per_epoch)
        return self.order(epoch)[within * self.batch_size : (within + 1) * self.batch_size]

    def order(self, epoch: int) -> np.ndarray:
        """The order (n,) in which an epoch visits the rows."""
        if self._epoch is None or self._epoch[0] != epoch:
            self._epoch = (epoch, order(self.seed, epoch, len(self.dataset)))
        return self._epoch[1]

    def at(self, step: int) -> list[Batch]:
        """This rank's micro-batches of optimizer step `step`, counted from 0."""
        return [self.batch(rows) for rows in self.groups(step)]

    def groups(self, step: int) -> list[np.ndarray]:
        """The rows of each of this rank's micro-batches of a step."""
        rows = self.rows(step)
        if self.packed:
            groups = best_fit_decreasing(self.dataset.lengths[rows].tolist(), self.micro_tokens)
        else:
            groups = padded_groups(self.sides(rows), self.micro_tokens)
        forget(self.dataset.lengths)
        forget(self.dataset.encoder_lengths)
        if self._epoch is not None:
            forget(self._epoch[1])
        return [rows[group] for group in groups[self.rank :: self.world]]

    def sides(self, rows: np.ndarray) -> list[tuple[int, int]]:
        """Tokens of the encoder and of the decoder of each of these rows; a model of one stack is its own decoder."""
        encoder = self.dataset.encoder_lengths[rows]
        return list(zip(encoder.tolist(), (self.dataset.lengths[rows] - encoder).tolist(), strict=True))

    def positions(self, rows: np.ndarray) -> int:
        """Tokens of one pass over these rows, padding included."""
        return int(self.dataset.lengths[rows].sum()) if self.packed else _rectangle(self.sides(rows))

    def batch(self, rows: np.ndarray) -> Batch:
        """These rows as one micro-batch."""
        return self.together([self.dataset[int(row)] for row in rows])

    def together(self, segments: Sequence[Segment]) -> Batch:
        """Any rows in one micro-batch, made the way this run makes them."""
        batch = pack_batch(segments) if self.packed else pad_batch(segments, self.pad_id)
        return batch.to(self.device)


class EndlessBatches(Batches):
    """The same without an end: every step takes `batch_size` rows, the last of one pass and the first of the next."""

    def rows(self, step: int) -> np.ndarray:
        begin = step * self.batch_size
        epochs, places = np.divmod(np.arange(begin, begin + self.batch_size), len(self.dataset))
        return np.concatenate([self.order(int(epoch))[places[epochs == epoch]] for epoch in np.unique(epochs)])


def padded_groups(sides: Sequence[tuple[int, int]], capacity: int) -> list[list[int]]:
    """Groups of indices of similar length, longest first, whose rectangles (rows x longest) hold at most `capacity`.

    `sides`: tokens of each row in the encoder (0 where there is none) and in the decoder.
    """
    groups: list[list[int]] = []
    widest = (0, 0)
    for index in sorted(range(len(sides)), key=lambda i: (-sum(sides[i]), i)):
        wider = max(widest[0], sides[index][0]), max(widest[1], sides[index][1])
        if groups and (len(groups[-1]) + 1) * sum(wider) <= capacity:
            groups[-1].append(index)
            widest = wider
        else:
            groups.append([index])
            widest = sides[index]
    return groups


def _rectangle(sides: Sequence[tuple[int, int]]) -> int:
    return len(sides) * sum(map(max, zip(*sides, strict=True)))
