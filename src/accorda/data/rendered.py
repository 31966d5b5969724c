"""A row on its way from pieces of text to ids and labels."""

from dataclasses import dataclass

import numpy as np

from accorda.data.turns import Piece


@dataclass(frozen=True, eq=False)
class Rendered:
    """A row as ids (T,) int32 and which are learned (T,) bool; its last completion begins at `prompt_length`.

    Of an encoder-decoder's row the encoder reads `encoder_length` ids, which are its prompt.
    """

    input_ids: np.ndarray
    supervised: np.ndarray
    prompt_length: int
    encoder_length: int = 0


@dataclass(frozen=True)
class Plan:
    """Pieces of text to encode, which of them are learned, and whether the end-of-sequence token follows."""

    pieces: list[Piece]
    learned: list[bool]
    closed: bool

    @property
    def texts(self) -> list[str]:
        """Of its pieces."""
        return [piece.text for piece in self.pieces]
