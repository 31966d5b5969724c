"""A low-rank change of a layer's output, y + s B A x, as LoRA adds it (Hu et al., 2021, arXiv:2106.09685, equation 3).

    z = A x        y' = y + s B z        dz = s B^T dy'    dB = s dy' z^T    dA = dz x^T    dx = A^T dz

In torch dy' is read twice, for dz and for dB, by products too thin to be fast. Triton adds in one pass over y and forms
both gradients in one over dy'. There A and B are rounded to y's dtype as autocast rounds them; B's gradient stays in
fp32, A's is a product in y's dtype.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from accorda.kernels import triton

WIDEST_RANK = 64  # a program holds 128 columns of dB in registers
COLUMNS, ROWS, PARTS = 128, 64, 8  # of dy' per program and at a time; into how many parts the rows are cut


def add(y: Tensor, x: Tensor, A: Tensor, B: Tensor, scaling: float) -> Tensor:
    """The sum y + scaling * B A x for x (..., I), y (..., O), A (R, I), B (O, R).

    y must be what a layer has just made for nobody else: it may be written over.
    """
    if y.numel() and triton.takes(y, x, A, B) and len(A) <= WIDEST_RANK and _as_autocast_would(y, x, A):
        out = _LowRank.apply(y, x, A, B, scaling)
        assert isinstance(out, Tensor)
        return out
    return reference(y, x, A, B, scaling)


def reference(y: Tensor, x: Tensor, A: Tensor, B: Tensor, scaling: float) -> Tensor:
    """The same, in torch: one pass over y, in its place, where it has the product's dtype."""
    inner = F.linear(x, A)
    if inner.dtype != y.dtype:
        return y + scaling * F.linear(inner, B)
    outer = B.T.to(y.dtype)
    whole = y if y._base is None else y._base  # a layer with a bias gives a view of its sum
    if not _may_be_written(whole, y):
        return torch.addmm(y.flatten(0, -2), inner.flatten(0, -2), outer, alpha=scaling).view_as(y)
    if whole.ndim == 2:
        return whole.addmm_(inner.flatten(0, -2), outer, alpha=scaling).view_as(y)
    # not through a view of y: autograd would copy gradients of y's size on its way back
    return whole.baddbmm_(inner, outer.unsqueeze(0), alpha=scaling)


def _may_be_written(whole: Tensor, y: Tensor) -> bool:
    """Whether y is all of a tensor that a layer has made, in its order, and one product reaches all of that."""
    if (whole.is_leaf and whole.requires_grad) or whole.numel() != y.numel():
        return False
    if whole.requires_grad != y.requires_grad:  # made inside an autograd function, whose way back would be lost
        return False
    one = whole.ndim == 2 or (whole.ndim == 3 and len(whole) == 1)
    return one and y.is_contiguous() and whole.is_contiguous()


def _as_autocast_would(y: Tensor, x: Tensor, A: Tensor) -> bool:
    """Whether the products would run in y's dtype."""
    if torch.is_autocast_enabled(y.device.type):
        return y.dtype == torch.get_autocast_dtype(y.device.type)
    return y.dtype == x.dtype == A.dtype


class _LowRank(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor, x: Tensor, A: Tensor, B: Tensor, scaling: float) -> Tensor:
        rows, a, b = x.reshape(-1, x.shape[-1]).to(y.dtype), A.to(y.dtype), B.to(y.dtype)
        inner = rows @ a.T
        ctx.save_for_backward(rows, inner, a, b)
        ctx.scaling, ctx.dtypes, ctx.shape = scaling, (x.dtype, A.dtype, B.dtype), x.shape
        return there(y.reshape(-1, y.shape[-1]).contiguous(), inner, b, scaling).view(y.shape)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        rows, inner, a, b = ctx.saved_tensors
        of_x, of_A, of_B = ctx.dtypes
        towards_y = gradients[0].reshape(-1, gradients[0].shape[-1]).contiguous()
        towards_inner, towards_B = back(towards_y, inner, b, ctx.scaling)
        narrow = towards_inner.to(rows.dtype)
        towards_x = (narrow @ a).to(of_x).view(ctx.shape) if ctx.needs_input_grad[1] else None
        return gradients[0], towards_x, (narrow.T @ rows).to(of_A), towards_B.to(of_B), None


def there(y: Tensor, inner: Tensor, b: Tensor, scaling: float) -> Tensor:
    """The sum y + scaling * z B^T for y (T, O), z (T, R), B (O, R)."""
    (count, width), rank, out = y.shape, inner.shape[-1], torch.empty_like(y)
    sizes = {"RANK": max(16, triton.next_power(rank)), "COLUMNS": COLUMNS, "ROWS": ROWS}
    triton.code("low_rank").there[(-(-count // ROWS), -(-width // COLUMNS))](
        *(y, inner, b, out, scaling, count, width, rank), **{"EXACT": y.dtype == torch.float32, **sizes}
    )
    return out


def back(towards_y: Tensor, inner: Tensor, b: Tensor, scaling: float) -> tuple[Tensor, Tensor]:
    """Gradients (T, O) with z (T, R) and B (O, R): dz (T, R) and dB (O, R), both fp32, from one reading."""
    (count, width), rank = towards_y.shape, inner.shape[-1]
    blocks = -(-width // COLUMNS)
    each = -(-count // (PARTS * ROWS)) * ROWS
    parts = -(-count // each)
    towards_inner = torch.empty(blocks, count, rank, dtype=torch.float32, device=inner.device)
    towards_B = torch.empty(parts, width, rank, dtype=torch.float32, device=inner.device)
    sizes = {"RANK": max(16, triton.next_power(rank)), "COLUMNS": COLUMNS, "ROWS": ROWS}
    triton.code("low_rank").back[(blocks, parts)](
        *(towards_y, inner, b, towards_inner, towards_B, count, width, rank, each),
        **{"EXACT": towards_y.dtype == torch.float32, **sizes},
    )
    return towards_inner.sum(0).mul_(scaling), towards_B.sum(0).mul_(scaling)
