"""A model with random weights in a number format: each weight is drawn when it is packed, never all of them at once.

The model is built as always, but what fills a large tensor is put off. Its place in memory stays untouched, which costs
nothing; random numbers are drawn into a buffer that all share, so that the generator moves on as if they were kept, and
the generator's state is remembered. Later each weight is drawn from that state, packed, and freed before the next. The
numbers are therefore those of the dense model, bit for bit.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import PreTrainedModel

from accorda.models.fingerprint import backbone_parameters, digest, told
from accorda.models.heap import give_back, map_large_blocks
from accorda.quantization import Format, block_linears, quantize_model, replace

LARGE = 1 << 18  # numbers
aten = torch.ops.aten
OVERWRITING = (aten.normal_.default, aten.uniform_.default, aten.zero_.default, aten.fill_.Scalar)
CHANGING = (aten.mul_.Tensor, aten.add_.Tensor, aten.erfinv_.default, aten.clamp_.default)  # a truncated normal
NOT_READING = (aten.detach.default, aten.alias.default)


@dataclass
class PutOff:
    """What was to be done to a tensor, in order, each with the generator's state where it draws."""

    tensor: Tensor
    calls: list[tuple[Any, tuple[Any, ...], dict[str, Any], Tensor | None]] = field(default_factory=list)

    def done(self) -> None:
        """Do it now; the generator stays where it is."""
        with torch.random.fork_rng(devices=[]):
            for function, args, kwargs, state in self.calls:
                if state is not None:
                    torch.set_rng_state(state)
                function(self.tensor, *args, **kwargs)


class PuttingOff(TorchDispatchMode):
    """Puts off what changes a large tensor as a whole and reads nothing, until something else touches it."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: dict[int, PutOff] = {}  # by the place of the tensor's memory
        self.scratch = torch.empty(0, dtype=torch.uint8)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Put it off, or do it."""
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        alone = len(tensors) == 1 and kwargs.get("generator") is None
        if alone and self.can_wait(func, args[0]):
            self.put_off(func, args[0], args[1:], kwargs)
            return args[0]
        if func not in NOT_READING:
            for tensor in tensors:
                self.catch_up(tensor)
        return func(*args, **kwargs)

    def can_wait(self, func: Any, tensor: Tensor) -> bool:
        """Whether the function fills this tensor, which is large and lies alone, or changes what waits to be filled."""
        if func not in OVERWRITING and (func not in CHANGING or place_of(tensor) not in self.waiting):
            return False
        if tensor.device.type != "cpu" or tensor.numel() < LARGE or not tensor.is_contiguous():
            return False
        return tensor.nbytes == tensor.untyped_storage().nbytes()

    def put_off(self, func: Any, tensor: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Remember a change; what it draws is drawn now and lost."""
        draws = torch.Tag.nondeterministic_seeded in func.tags
        state = torch.get_rng_state() if draws else None
        if draws:
            func(self.buffer(tensor), *args, **kwargs)
        if func in OVERWRITING:
            self.waiting[place_of(tensor)] = PutOff(tensor.detach())
        self.waiting[place_of(tensor)].calls.append((func, args, kwargs, state))

    def buffer(self, tensor: Tensor) -> Tensor:
        """Memory as large as a tensor, with anything in it."""
        if self.scratch.nbytes < tensor.nbytes:
            self.scratch = torch.empty(tensor.nbytes, dtype=torch.uint8)
        return self.scratch[: tensor.nbytes].view(tensor.dtype).view(tensor.shape)

    def catch_up(self, tensor: Tensor) -> None:
        """Do what waits for a tensor, if anything does."""
        found = self.waiting.pop(place_of(tensor), None)
        if found is not None:
            found.done()

    def catch_up_with_all(self) -> None:
        """Do everything that waits."""
        while self.waiting:
            self.waiting.popitem()[1].done()


def place_of(tensor: Tensor) -> int:
    """What tensors that share memory have in common."""
    return tensor.untyped_storage().data_ptr()


def random_packed(build: Callable[[], PreTrainedModel], wanted: Format) -> PreTrainedModel:
    """What `build` makes on the CPU with its blocks in a number format, and the dense model's fingerprint."""
    map_large_blocks()
    with PuttingOff() as later:
        model = build()
    later.scratch = torch.empty(0)
    inside = {f"{name}.weight" for name, _ in block_linears(model)}
    backbone = {name: parameter.numel() for name, parameter in backbone_parameters(model).items()}
    digests = set[bytes]()
    for name in [name for name, _ in model.named_parameters()]:
        later.catch_up(model.get_parameter(name))
        if name in backbone:
            digests.add(digest(model.get_parameter(name)))
        if name in inside:
            pack(model, name.removesuffix(".weight"), wanted)
    later.catch_up_with_all()
    quantize_model(model, wanted)  # a weight that came under another name
    cast(Any, model).accorda_fingerprint = told(model, sum(backbone.values()), digests)
    return model


def pack(model: PreTrainedModel, path: str, wanted: Format) -> None:
    """Put a linear into a number format; its dense weight is gone for good."""
    replace(model, path, wanted.linear(model.get_submodule(path)))
    give_back()
