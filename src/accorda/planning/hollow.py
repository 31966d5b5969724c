"""A model without its values: same code, hooks, adapters and shapes; nothing is computed and nothing is stored.

Every parameter and buffer is replaced, for as long as the context is entered, by a tensor that knows its shape, dtype
and device only (torch's FakeTensor). A model that was built on the meta device and one that stands in memory are
treated alike.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode


@contextmanager
def hollow(*models: nn.Module, device: torch.device | str = "cpu") -> Iterator[FakeTensorMode]:
    """Inside, the models hold shapes that pretend to be on `device`; afterwards their own tensors, as they were."""
    mode, place = FakeTensorMode(allow_non_fake_inputs=True), torch.device(device)
    shapes: dict[int, Tensor] = {}

    def shape_of(tensor: Tensor) -> Tensor:
        if id(tensor) not in shapes:
            shapes[id(tensor)] = emptied(tensor, mode, place)
        return shapes[id(tensor)]

    places: list[dict[str, Any]] = [
        held for model in models for module in model.modules() for held in (module._parameters, module._buffers)
    ]
    before = [dict(held) for held in places]
    try:
        for held in places:
            held.update({name: shape_of(tensor) for name, tensor in held.items() if tensor is not None})
        with mode:
            yield mode
    finally:
        for held, own in zip(places, before, strict=True):
            held.update(own)


def emptied(tensor: Tensor, mode: FakeTensorMode, device: torch.device) -> Tensor:
    """The shape of one tensor; a parameter stays one, with its wish for a gradient."""
    bare = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")
    shape: Any = FakeTensor(mode, bare, device)
    if not isinstance(tensor, nn.Parameter):
        return shape
    return nn.Parameter(shape, requires_grad=tensor.requires_grad)
