"""Keys and values of a text that was read before, for the next one that begins alike: a conversation that goes on."""

from collections.abc import Sequence
from typing import Any

from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from accorda.methods.backbone import cached_in_front
from accorda.models.packed import num_parameters


class Past:
    """What one row's cache holds: `ids`, behind whatever soft prompt acts. It belongs to one model under one route.

    What is read in two parts is the same to rounding, not bit for bit; so what costs fewer than `cheap` operations to
    read again (two per parameter and token) is read again.

    A step that was interrupted may have left its token in some layers; `ids` counts whole steps only, and `begin` cuts
    every layer to them.
    """

    def __init__(self, cheap: float = 0.0) -> None:
        self.cheap = cheap
        self.ids: list[int] = []
        self.cache: Any = None

    def begin(self, model: PreTrainedModel, prompt: Sequence[int]) -> tuple[Any, int]:
        """A cache for this prompt, and how many of its tokens it already holds: never the last, which is to be read."""
        pairs = zip(self.ids, prompt[:-1], strict=False)
        held = next((at for at, (one, other) in enumerate(pairs) if one != other), min(len(self.ids), len(prompt) - 1))
        front = cached_in_front(model)
        if 2.0 * held * num_parameters(model) < self.cheap:
            held = 0
        if not held or not self._can_be_cut(model, front + len(self.ids) + 1):
            held, self.cache = 0, DynamicCache(config=model.config)
        for layer in self.cache.layers if held else ():
            if (more := layer.get_seq_length() - front - held) > 0:
                layer.crop(-more)
        self.ids = list(prompt[:held])
        return self.cache, held

    def _can_be_cut(self, model: PreTrainedModel, num_positions: int) -> bool:
        """Whether every layer has all positions: a window that was left, and a running state, forget the first."""
        plain = all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in self.cache.layers)
        return plain and fits_window(model, num_positions)


def fits_window(model: PreTrainedModel, num_positions: int) -> bool:
    """Whether no layer's sliding window is shorter than this many cached positions."""
    windows = [getattr(layer, "sliding_window", None) for layer in DynamicCache(config=model.config).layers]
    return all(window is None or num_positions <= window for window in windows)
