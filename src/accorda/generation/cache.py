"""A key/value cache in buffers of their final size: a step writes its token and copies nothing.

transformers' growing layers make keys and values anew in every step, so that generating T tokens copies T^2 / 2 of them
and holds a layer twice while it is copied.
"""

from typing import Any

from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer


class BufferedLayer(DynamicLayer):
    """Keys (B, H, T, D) and values of one block, as views of the first T of `capacity` positions."""

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.capacity = capacity

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write keys and values (B, H, new, D) behind what is held; a buffer that is full is doubled."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        begin = self.get_seq_length()
        end = begin + key_states.shape[-2]
        if begin == 0 or end > self.capacity:
            self.capacity = max(end, self.capacity if begin == 0 else 2 * self.capacity)
            self._grow(key_states, value_states, begin)
        self._key_buffer[:, :, begin:end] = key_states
        self._value_buffer[:, :, begin:end] = value_states
        self._show(end)
        return self.keys, self.values

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Every row `repeats` times, one behind the other, in buffers that are made once."""
        if repeats == 1 or not self.get_seq_length():
            return
        length, keys, values = self.get_seq_length(), self.keys, self.values
        for name, held in (("_key_buffer", keys), ("_value_buffer", values)):
            rows, heads, _, width = held.shape
            buffer = held.new_empty(rows, repeats, heads, self.capacity, width)
            buffer[:, :, :, :length] = held[:, None]
            setattr(self, name, buffer.flatten(0, 1))
        self._show(length)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep these rows, given in rising order: each moves up within the buffer."""
        if not self.get_seq_length():
            return
        length, places = self.get_seq_length(), indices.tolist()
        for buffer in (self._key_buffer, self._value_buffer):
            for to, place in enumerate(places):
                if to != place:
                    buffer[to, :, :length] = buffer[place, :, :length]
        self._key_buffer = self._key_buffer[: len(places)]
        self._value_buffer = self._value_buffer[: len(places)]
        self._show(length)

    def _grow(self, key_states: Tensor, value_states: Tensor, length: int) -> None:
        """Buffers for `capacity` positions that begin with what is held."""
        held = self.keys, self.values
        self._key_buffer, self._value_buffer = (
            states.new_empty(*states.shape[:2], self.capacity, states.shape[-1])
            for states in (key_states, value_states)
        )
        if length:
            self._key_buffer[:, :, :length], self._value_buffer[:, :, :length] = held

    def _show(self, length: int) -> None:
        self.keys, self.values = self._key_buffer[:, :, :length], self._value_buffer[:, :, :length]


def buffered(config: Any, capacity: int) -> DynamicCache:
    """An empty cache of a decoder; layers that keep a window, a state or another layer's keys stay what they are."""
    cache = DynamicCache(config=config)
    cache.layers = [BufferedLayer(capacity) if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache
