"""Every random generator a training step may draw from, as one value."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


def seed_all(seed: int) -> None:
    """Start Python's, numpy's and torch's generators (every device) from `seed`."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


@dataclass(frozen=True)
class Generators:
    """The state of all generators at one moment; `tensors` and `values` are what a checkpoint stores."""

    tensors: dict[str, Tensor]
    values: dict[str, Any]

    @staticmethod
    def capture() -> "Generators":
        """The state now."""
        name, keys, *rest = np.random.get_state(legacy=True)
        tensors = {"torch": torch.get_rng_state(), "numpy": torch.from_numpy(np.asarray(keys).astype(np.int64))}
        if torch.cuda.is_available():
            tensors |= {f"cuda.{index}": state for index, state in enumerate(torch.cuda.get_rng_state_all())}
        version, words, gauss = random.getstate()
        return Generators(tensors, {"numpy": [name, *rest], "python": [version, list(words), gauss]})

    def restore(self) -> None:
        """Put every generator back; CUDA devices that this machine lacks are passed over."""
        torch.set_rng_state(self.tensors["torch"])
        name, *rest = self.values["numpy"]
        np.random.set_state((name, self.tensors["numpy"].numpy().astype(np.uint32), *rest))
        version, words, gauss = self.values["python"]
        random.setstate((version, tuple(words), gauss))
        for index in range(torch.cuda.device_count()):
            if f"cuda.{index}" in self.tensors:
                torch.cuda.set_rng_state(self.tensors[f"cuda.{index}"], index)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Whatever is drawn inside, training afterwards draws what it would have drawn."""
    state = Generators.capture()
    try:
        yield
    finally:
        state.restore()
