"""Whether a machine can hold weights at all, asked before they are made: else the system kills it without a word."""

from collections.abc import Callable

import torch
from transformers import PreTrainedModel

from accorda.errors import Refusal
from accorda.runs.memory import memory_bytes


def require_room(make: Callable[[], PreTrainedModel]) -> None:
    """Refuse random weights larger than the memory there is; `make` makes their shapes, and what it draws is undone."""
    with torch.random.fork_rng(devices=[]):
        shapes = make()
    size = sum(parameter.numel() * parameter.element_size() for parameter in shapes.parameters())
    room = memory_bytes()
    if room is not None and size > room:
        raise Refusal(
            f"model.config: {shapes.num_parameters():,} weights take {size / 1e9:,.1f} GB, and this machine has "
            f"{room / 1e9:,.1f}; name a smaller model (num_hidden_layers, hidden_size, vocab_size)"
        )
