"""Kronecker products A ⊗ B of A (a1, a2) and B (b1, b2): matrices (a1 b1, a2 b2) of blocks A[i, j] B, never formed."""

import torch
from torch import Tensor
from torch.nn import functional


def apply(x: Tensor, A: Tensor, B: Tensor) -> Tensor:
    """(A ⊗ B) x for x (..., a2 b2) -> (..., a1 b1): with x as a matrix X (a2, b2), row by row, it is A X B^T."""
    X = x.unflatten(-1, (A.shape[1], B.shape[1]))
    return torch.einsum("ij,...jk->...ik", A, functional.linear(X, B)).flatten(-2)


def middle_divisor(number: int) -> int:
    """The divisor nearest to the square root; the smaller one where two are equally near."""
    divisors = (n for n in range(1, number + 1) if number % n == 0)
    return min(divisors, key=lambda n: abs(n - number**0.5))
