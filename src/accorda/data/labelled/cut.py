"""Labelled rows that are too long: the end of the longer text is cut, token by token, and special tokens stay.

This is what transformers' tokenizers call `longest_first`: with one text its end is cut; with two, tokens go from the
longer one until both are equally long, and then from both.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Frame:
    """How many special tokens the tokenizer puts in front of, between and behind texts."""

    front: int
    between: int
    behind: int


def kept(lengths: tuple[int, int], room: int) -> tuple[int, int]:
    """How many tokens of two texts stay where both together have room for `room`."""
    short, long = min(lengths), max(lengths)
    long = short if short > room else min(long, max(short, room - short))
    if short + long > room:
        short, long = room // 2, room // 2 + room % 2
    return (short, long) if lengths[0] <= lengths[1] else (long, short)


def shortened(values: np.ndarray, second: int, frame: Frame, max_length: int) -> np.ndarray:
    """What stays of a row's ids, or of anything that has one value per token.

    Args:
        values: (T,).
        second: where the second text begins; T where there is none.
        frame: of the tokenizer.
        max_length: the most tokens.
    """
    length = len(values)
    if length <= max_length:
        return values
    if second >= length:
        end = max_length - frame.behind
        return np.concatenate([values[:end], values[length - frame.behind :]])
    first_end = second - frame.between
    room = max_length - frame.front - frame.between - frame.behind
    one, other = kept((first_end - frame.front, length - frame.behind - second), max(room, 0))
    return np.concatenate(
        [
            values[: frame.front + one],
            values[first_end : second + other],
            values[length - frame.behind :],
        ]
    )
