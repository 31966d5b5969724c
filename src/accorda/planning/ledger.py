"""Every tensor a computation makes, when it was made and when it was let go: read off the operators as they run.

Works on tensors without values too, and then costs neither memory nor arithmetic.
"""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

STAND_IN = 1.0  # what a tensor without values answers where code asks for its number


class Ledger(TorchDispatchMode):
    """While entered, notes every storage that an operator makes. Enter it after the mode that makes values vanish.

    events: what was made and let go, in order: (number, bytes), or (number, None) where it went.
    sizes: bytes by number. labels: what `label` was when it was made. recorded: what has a node in the graph, being
        made with gradients from something that has one or is trained.
    """

    def __init__(self) -> None:
        super().__init__()
        self.events: list[tuple[int, int | None]] = []
        self.unseen = False
        self.sizes: dict[int, int] = {}
        self.labels: dict[int, str] = {}
        self.recorded: set[int] = set()
        self.label = ""
        self._known: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operator and note what it made."""
        if func is torch.ops.prim.device.default and isinstance(args[0], FakeTensor):
            return args[0].fake_device  # asked for twice as often as anything is computed
        if func is torch.ops.aten._local_scalar_dense.default and is_empty(args[0]):
            return STAND_IN if args[0].is_floating_point() else int(STAND_IN)
        made = func(*args, **(kwargs or {}))
        if self.unseen:
            return made
        given = tree_leaves((args, kwargs)) if torch.is_grad_enabled() else ()
        recorded = any(isinstance(leaf, Tensor) and leaf.requires_grad for leaf in given)
        for leaf in tree_leaves(made):
            if isinstance(leaf, Tensor):
                number = self.note(leaf)
                if recorded:
                    self.recorded.add(number)
        return made

    @contextmanager
    def looking_away(self) -> Iterator[None]:
        """Inside, nothing that operators make is noted."""
        self.unseen = True
        try:
            yield
        finally:
            self.unseen = False

    def note(self, tensor: Tensor, label: str | None = None) -> int:
        """The number of a tensor's storage, given now if it has none yet."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._known:
            number = len(self.sizes)
            self._known[key] = number
            self.sizes[number] = storage.nbytes()
            self.labels[number] = self.label if label is None else label
            self.events.append((number, storage.nbytes()))
            weakref.finalize(storage, self._gone, key, number).atexit = False
        return self._known[key]

    def _gone(self, key: int, number: int) -> None:
        del self._known[key]
        self.events.append((number, None))


def is_empty(tensor: Tensor) -> bool:
    """Whether a tensor has a shape only."""
    return isinstance(tensor, FakeTensor) or tensor.is_meta
