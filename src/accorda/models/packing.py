"""Rows packed end to end: where each segment begins and ends."""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

Side = Literal["encoder", "decoder"]


@dataclass(frozen=True)
class Packing:
    """Borders of the segments of a packed row: (0, 3, 7) is one segment of tokens 0-2 and one of 3-6.

    `encoder_borders` are those of the encoder's row of an encoder-decoder, as many segments; `borders` the decoder's.
    """

    borders: tuple[int, ...]
    encoder_borders: tuple[int, ...] | None = None
    cache: dict[object, object] = field(default_factory=dict, compare=False, repr=False)  # what kernels derive, once

    def __post_init__(self) -> None:
        for borders in (self.borders, self.encoder_borders or (0, 1)):
            if len(borders) < 2 or borders[0] != 0 or any(start >= end for start, end in pairwise(borders)):
                raise ValueError(f"packing borders must begin with 0 and grow: {borders}")
        if self.encoder_borders is not None and len(self.encoder_borders) != len(self.borders):
            raise ValueError(f"{len(self.borders) - 1} segments, but {len(self.encoder_borders) - 1} for the encoder")

    def of(self, side: Side) -> tuple[int, ...]:
        """The borders of one side; a model of one stack is its own decoder."""
        if side == "decoder":
            return self.borders
        if self.encoder_borders is None:
            raise ValueError("packing of an encoder-decoder needs encoder_borders")
        return self.encoder_borders

    def segment_ids(self, side: Side, device: torch.device) -> Tensor:
        """The number of each token's segment, (T,)."""
        lengths = torch.tensor([end - start for start, end in pairwise(self.of(side))], device=device)
        return torch.repeat_interleave(lengths)

    def positions(self, side: Side, device: torch.device) -> Tensor:
        """The position of each token in its segment, (T,)."""
        return torch.cat([torch.arange(end - start, device=device) for start, end in pairwise(self.of(side))])
