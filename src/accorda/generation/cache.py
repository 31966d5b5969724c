"""A key/value cache in buffers of their final size: a step writes its token and copies nothing.

transformers' growing layers make keys and values anew in every step, so that generating T tokens copies T^2 / 2 of them
and holds a layer twice while it is copied.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer


class BufferedLayer(DynamicLayer):
    """Keys (B, H, T, D) and values of one block, as views of the first T of `capacity` positions."""

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.capacity = capacity
        self._buffers: list[Tensor] = []

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write keys and values (B, H, new, D) behind what is held; a buffer that is full is doubled."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        begin = self.get_seq_length()
        end = begin + key_states.shape[-2]
        if begin == 0 or end > self.capacity:
            self._enlarge((key_states, value_states), begin, end)
        for buffer, states in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:, :, begin:end] = states
        return self._show(end)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Every row `repeats` times, one behind the other, in buffers that are made once."""
        length = self.get_seq_length()
        if repeats == 1 or not length:
            return
        wider = []
        for buffer in self._buffers:
            rows = buffer.new_empty(len(buffer), repeats, *buffer.shape[1:])
            rows[:, :, :, :length] = buffer[:, None, :, :length]
            wider.append(rows.flatten(0, 1))
        self._buffers = wider
        self._show(length)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep these rows, given in rising order: each moves up within the buffer."""
        length, places = self.get_seq_length(), indices.tolist()
        if not length:
            return
        for buffer in self._buffers:
            for to, place in enumerate(places):
                if to != place:
                    buffer[to, :, :length] = buffer[place, :, :length]
        self._buffers = [buffer[: len(places)] for buffer in self._buffers]
        self._show(length)

    def _enlarge(self, states: Sequence[Tensor], begin: int, end: int) -> None:
        """Buffers with room up to `end` at least, that begin with what is held."""
        self.capacity = max(end, 2 * self.capacity if begin else self.capacity)
        held = self._buffers
        self._buffers = [one.new_empty(*one.shape[:2], self.capacity, one.shape[-1]) for one in states]
        for buffer, before in zip(self._buffers, held, strict=False):
            buffer[:, :, :begin] = before[:, :, :begin]

    def _show(self, length: int) -> tuple[Tensor, Tensor]:
        keys, values = (buffer[:, :, :length] for buffer in self._buffers)
        self.keys, self.values = keys, values
        return keys, values


def buffered(config: Any, capacity: int) -> DynamicCache:
    """An empty cache of a decoder; layers that keep a window, a state or another layer's keys stay what they are."""
    cache = DynamicCache(config=config)
    cache.layers = [BufferedLayer(capacity) if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache
