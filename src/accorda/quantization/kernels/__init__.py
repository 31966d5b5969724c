"""Ways to compute with 4-bit weights, one file each; which one is used follows from the device and what is installed.

Each says whether it runs somewhere and its rank there. On CUDA: triton, else bitsandbytes, else the reference. On a CPU
bitsandbytes where it is installed. The log names each choice once.
"""

import importlib
import logging
import pkgutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch

from accorda.quantization.kernels.contract import Kernel

logger = logging.getLogger(__name__)

_asked: list[str] = []


@cache
def kernels() -> dict[str, Kernel]:
    """Every kernel by name: the `KERNEL` of each file in this folder."""
    modules = [importlib.import_module(f"{__name__}.{file.name}") for file in pkgutil.iter_modules(__path__)]
    found: list[Kernel] = [module.KERNEL for module in modules if "KERNEL" in vars(module)]
    return {kernel.name: kernel for kernel in found}


def chosen(device: torch.device) -> Kernel:
    """The kernel for weights on a device: the one asked for by `using`, else the first by rank that runs there."""
    return kernels()[_asked[-1]] if _asked else _first(device.type)


@cache
def _first(kind: str) -> Kernel:
    """The first kernel that runs on such a device."""
    ranks = {name: kernel.rank(kind) for name, kernel in kernels().items()}
    order = sorted((rank, name) for name, rank in ranks.items() if rank is not None)
    first = next(kernels()[name] for _, name in order if kernels()[name].runs_on(torch.device(kind)))
    logger.info("4-bit weights on %s: kernel %s", kind, first.name)
    return first


@contextmanager
def using(name: str) -> Iterator[None]:
    """Inside, one kernel for everything: to compare them. Raises KeyError for a name that is none."""
    _asked.append(kernels()[name].name)
    try:
        yield
    finally:
        _asked.pop()
