"""Where Triton's kernels run: on CUDA where it is installed, and on a CPU where it interprets (TRITON_INTERPRET=1)."""

import os
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

WIDEST = 2**15  # numbers of one row that a program holds at once
UNFUSED = {"enable_fp_fusion": False}  # a product and a sum are rounded one after the other, as torch rounds them


def runs_on(device: torch.device) -> bool:
    """Whether Triton's kernels can be used there."""
    interprets = device.type == "cpu" and os.environ.get("TRITON_INTERPRET") == "1"
    return (device.type == "cuda" or interprets) and _installed()


def takes(*tensors: Tensor) -> bool:
    """Whether they lie where Triton runs and hold numbers of at most 32 bits."""
    return all(runs_on(tensor.device) and tensor.dtype.itemsize <= 4 for tensor in tensors)


def next_power(number: int) -> int:
    """The smallest power of two that is not smaller."""
    return 1 << (number - 1).bit_length()


@cache
def code(name: str) -> Any:
    """A module of `jit/`, which needs Triton to be imported."""
    return import_module(f"accorda.kernels.jit.{name}")


@cache
def _installed() -> bool:
    return find_spec("triton") is not None
