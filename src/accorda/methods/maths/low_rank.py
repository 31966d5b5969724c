"""Products of two thin matrices, A (R, I) and B (O, R)."""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from accorda.kernels.low_rank import add

__all__ = ["Start", "add", "apply", "start_A", "zero_B"]

Start = Literal["kaiming", "gaussian"]


def start_A(rank: int, in_features: int, start: Start) -> nn.Parameter:
    """A random A (R, I).

    "kaiming": uniform on +-1/sqrt(I), as the reference code of LoRA; "gaussian": normal with deviation 1/R, as its
    paper says without naming the deviation.
    """
    A = torch.empty(rank, in_features)
    if start == "kaiming":
        nn.init.kaiming_uniform_(A, a=math.sqrt(5))
    else:
        nn.init.normal_(A, std=1 / rank)
    return nn.Parameter(A)


def zero_B(out_features: int, rank: int) -> nn.Parameter:
    """A zero B (O, R): the product starts at zero, and B's gradient does not."""
    return nn.Parameter(torch.zeros(out_features, rank))


def apply(x: Tensor, A: Tensor, B: Tensor) -> Tensor:
    """B A x for x (..., I) -> (..., O), without forming B A."""
    return functional.linear(functional.linear(x, A), B)
