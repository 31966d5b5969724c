"""The device on which shapes without values pretend to be: code whose temporaries differ between devices asks here.

Tensors of a GPU that is not there cannot be made, so a plan for one goes through the code on the CPU; inside
`pretending("cuda")` that code makes what it would make on the GPU, and nothing is computed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

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
