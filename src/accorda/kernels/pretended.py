"""The device on which shapes without values pretend to be: code whose temporaries differ between devices asks here.

Tensors of a GPU that is not there cannot be made, so a plan for one goes through the code on the CPU; inside
`pretending("cuda")` that code makes what it would make on the GPU, and nothing is computed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

_PRETENDED: ContextVar[str | None] = ContextVar("pretended", default=None)


@contextmanager
def pretending(device_type: str) -> Iterator[None]:
    """Inside, shapes are those of a device of that type."""
    token = _PRETENDED.set(device_type)
    try:
        yield
    finally:
        _PRETENDED.reset(token)


def pretended() -> str | None:
    """The type of the device that is pretended; None where tensors are what they are."""
    return _PRETENDED.get()


def keeps_little(x: Tensor) -> bool:
    """Whether forms in torch keep their inputs alone, as Triton's do: in 16-bit models, or where a GPU is pretended.

    x: what a block works on, of the model's dtype. In an fp32 model on a CPU the graph of the formula itself stands:
    holes in the heap come instead of what it keeps, and the bill does not foresee them (docs/decisions/068). Where no
    gradient is asked for nothing is kept, and calling an autograd function takes time of its own.
    """
    return torch.is_grad_enabled() and (x.dtype.itemsize < 4 or pretended() == "cuda")
