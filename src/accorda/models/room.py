"""Whether a machine can hold weights at all, asked before they are made: else the system kills it without a word."""

import os
from collections.abc import Callable

import torch
from transformers import PreTrainedModel

from accorda.errors import Refusal


def require_room(make: Callable[[], PreTrainedModel]) -> None:
    """Refuse random weights larger than the memory; `make` makes their shapes, and what it draws is undone."""
    with torch.random.fork_rng(devices=[]):
        shapes = make()
    size = sum(parameter.numel() * parameter.element_size() for parameter in shapes.parameters())
    room = memory()
    if size > room:
        raise Refusal(
            f"model.config: {shapes.num_parameters():,} weights take {size / 1e9:,.1f} GB, and this machine has "
            f"{room / 1e9:,.1f}; name a smaller model (num_hidden_layers, hidden_size, vocab_size)"
        )


def memory() -> int:
    """Bytes of this machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
