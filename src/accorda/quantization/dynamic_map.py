"""The dynamic 8-bit map: Dettmers, 2015, "8-Bit Approximations for Parallelism in Deep Learning" (arXiv:1511.04561).

A code has a sign (signed maps), a decimal exponent that the number of leading zeros tells, and what bits are left for a
linear fraction between 0.1 and 1: the middles of 2^k equal steps, k growing with the exponent,

    10^(i - 6) * middle_j,    i = 0..6,    k = i (signed),  k = i + 1 (unsigned),

and beside them 0 and 1: 256 values in ascending order. Small values have many exponents, large ones many digits.
Optimizer states and the constants of double quantization are held in it, as bitsandbytes ships them.
"""

import torch
from torch import Tensor

EXPONENTS = 7


def dynamic_map(*, signed: bool) -> Tensor:
    """The 256 values, (256,) fp32 on the CPU, ascending from -0.993 or 0 to 1."""
    return SIGNED if signed else UNSIGNED


def _made(*, signed: bool) -> Tensor:
    values = torch.cat([torch.zeros(1), torch.ones(1)])
    for exponent in range(EXPONENTS):
        bounds = torch.linspace(0.1, 1, 2 ** (exponent if signed else exponent + 1) + 1)
        middles = (bounds[:-1] + bounds[1:]) / 2 * 10 ** (exponent - EXPONENTS + 1)
        values = torch.cat([values, middles, -middles] if signed else [values, middles])
    return values.sort().values


def nearest(values: Tensor, table: Tensor) -> Tensor:
    """For each value the number of the nearest entry of an ascending table of at most 256: uint8, of the same shape."""
    return torch.bucketize(values, (table[:-1] + table[1:]) / 2).to(torch.uint8)


SIGNED, UNSIGNED = _made(signed=True), _made(signed=False)
