"""Rows longer than `max_length`: what `data.overlong` does with them.

- `skip`: a row whose completion would lose a token is left out.
- `truncate_prompt`: tokens of the prompt are cut, the oldest first, BOS kept; where the completion does not fit, the
  row is left out.
- `truncate`: the end of the row is cut, completion and stop token with it; a row that loses every label is left out.
- `error`: the first such row is a refusal.
- `auto`: `skip`, but a refusal where that leaves out more than a quarter of the rows.

Of an encoder-decoder's row either side may have `max_length` tokens; `truncate` cuts the prompt's oldest tokens, too.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

Overlong = Literal["auto", "skip", "truncate_prompt", "truncate", "error"]
QUARTER = 0.25
SPAN = np.dtype([("part", "<i4"), ("row", "<i8"), ("start", "<i8"), ("head", "<i4"), ("cut", "<i8"), ("end", "<i8")])
"""The tokens of a row in its store: `head` tokens from `start`, then those from `cut` to `end`."""


@dataclass(frozen=True)
class Fitted:
    """The spans that fit, which of the given ones they are, and which of those were shortened."""

    spans: np.ndarray
    kept: np.ndarray
    shortened: np.ndarray


def span_lengths(spans: np.ndarray) -> np.ndarray:
    """Tokens per span."""
    return spans["head"] + spans["end"] - spans["cut"]


def fit(spans: np.ndarray, first: np.ndarray, max_length: int, policy: Overlong, num_prefix: int) -> Fitted:
    """Apply a policy to whole rows. `first` is the first supervised token of each, `num_prefix` how many stay in front.

    `auto` and `error` leave out like `skip`; whoever calls counts, and refuses.
    """
    lengths = span_lengths(spans)
    long = lengths > max_length
    kept = ~long
    if kept.all():  # a copy of millions of spans is large
        return Fitted(spans, np.arange(len(spans)), long)
    spans = spans.copy()
    if policy == "truncate":
        spans["end"][long] = spans["start"][long] + max_length
        kept |= first < max_length
    elif policy == "truncate_prompt":
        head = np.minimum(num_prefix, first)
        cut = lengths - max_length + head  # tokens of the row before the part that stays
        fits = np.where(head > 0, cut <= first, cut < first)  # something must be left that predicts the first label
        spans["head"][long], spans["cut"][long] = head[long], (spans["start"] + cut)[long]
        kept |= fits
    return Fitted(spans[kept], np.flatnonzero(kept), (long & kept)[kept])


def fit_sides(spans: np.ndarray, encoder: np.ndarray, max_length: int, policy: Overlong, num_prefix: int) -> Fitted:
    """The same for rows of two sides, of which the first `encoder` tokens are the encoder's."""
    spans, decoder = spans.copy(), span_lengths(spans) - encoder
    too_much, too_long = encoder > max_length, decoder > max_length
    kept = ~(too_much | too_long)
    if policy in ("truncate_prompt", "truncate"):
        head = min(num_prefix, max_length - 1)
        spans["head"][too_much] = head
        spans["cut"][too_much] = (spans["start"] + encoder - max_length + head)[too_much]
        kept = ~too_long
    if policy == "truncate":
        spans["end"][too_long] = (spans["start"] + encoder + max_length)[too_long]
        kept = np.full(len(spans), max_length > 1)  # the start token alone teaches nothing
    return Fitted(spans[kept], np.flatnonzero(kept), ((too_much | too_long) & kept)[kept])
