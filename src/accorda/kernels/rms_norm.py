"""Root mean square layer normalization. Zhang and Sennrich, 2019, arXiv:1910.07467, equation 4.

    n = x / sqrt(mean_i x_i^2 + eps)        y = w n,    or (1 + w) n where the weight is kept as its distance from one

n in fp32. As in the models, `w n` rounds n to x's dtype first; `(1 + w) n` is formed in fp32 and rounded once. Going
back, with c = mean_i(g_i n_i) for g = w dy,

    dx = (g - n c) / sqrt(mean_i x_i^2 + eps)        dw = sum over rows of dy n,

so that x and one number per row are kept, where torch's own graph of the formula keeps x in fp32, and n if w trains.
"""

from typing import Any

import torch
from torch import Tensor

from accorda.kernels import triton

PROGRAMS = 256  # of the backward pass, each with its own sum of dw


def rms_norm(x: Tensor, weight: Tensor, eps: float, *, from_one: bool = False) -> Tensor:
    """Normalize x (..., D) by weight (D,). `from_one`: the weight is added to one.

    The result has the wider of both dtypes, with `from_one` that of x.
    """
    compiled = x.numel() and triton.takes(x, weight) and x.shape[-1] <= triton.WIDEST
    if not (compiled or torch.is_grad_enabled()):  # without a graph an autograd function only costs its call
        return reference(x, weight, eps, from_one=from_one)
    out = (_Compiled if compiled else _InTorch).apply(x, weight, eps, from_one)
    assert isinstance(out, Tensor)
    return out


def reference(x: Tensor, weight: Tensor, eps: float, *, from_one: bool = False) -> Tensor:
    """The formula as models write it."""
    wide = x.float()
    normalized = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    return (normalized * (1 + weight.float())).to(x.dtype) if from_one else weight * normalized.to(x.dtype)


class _InTorch(torch.autograd.Function):
    """The same values as the reference, bit for bit. What stays is made first, so that no hole is left below it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float, from_one: bool) -> Tensor:
        dtype = x.dtype if from_one else torch.promote_types(x.dtype, weight.dtype)
        out = torch.empty_like(x, dtype=dtype)
        scales = torch.empty(*x.shape[:-1], 1, dtype=torch.float32, device=x.device)
        wide = x.to(torch.float32, copy=True)
        torch.mean(wide.square(), -1, keepdim=True, out=scales)
        normalized = wide.mul_(scales.add_(eps).rsqrt_())
        ctx.save_for_backward(x, weight, scales)
        ctx.from_one = from_one
        if from_one:
            return out.copy_(normalized.mul_(1 + weight.float()))
        return torch.mul(weight, normalized.to(x.dtype), out=out)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, scales = ctx.saved_tensors
        (gradient,) = gradients
        of_x, of_weight = ctx.needs_input_grad[:2]
        towards_x = torch.empty_like(x) if of_x else None
        normalized = x.to(torch.float32, copy=True).mul_(scales)
        towards_weight = (gradient.float() * normalized).flatten(0, -2).sum(0).to(weight.dtype) if of_weight else None
        if towards_x is not None:
            weighted = gradient.to(torch.float32, copy=True).mul_(weight.float() + ctx.from_one)
            share = torch.linalg.vecdot(weighted, normalized).div_(x.shape[-1]).unsqueeze(-1)
            towards_x.copy_(weighted.sub_(normalized.mul_(share)).mul_(scales))
        return towards_x, towards_weight, None, None


class _Compiled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float, from_one: bool) -> Tensor:
        rows = x.reshape(-1, x.shape[-1]).contiguous()
        count, width = rows.shape
        dtype = x.dtype if from_one else torch.promote_types(x.dtype, weight.dtype)
        out = torch.empty(rows.shape, dtype=dtype, device=x.device)
        scales = torch.empty(count, dtype=torch.float32, device=x.device)
        size = triton.next_power(width)
        triton.code("rms_norm").forward[(count,)](
            rows, weight, out, scales, eps, width, FROM_ONE=from_one, SIZE=size, num_warps=_warps(size)
        )
        ctx.save_for_backward(rows, weight, scales)
        ctx.from_one = from_one
        return out.view(x.shape)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight, scales = ctx.saved_tensors
        gradient = gradients[0].reshape(rows.shape).contiguous()
        count, width = rows.shape
        towards_x, size = torch.empty_like(rows), triton.next_power(width)
        trains, programs = ctx.needs_input_grad[1], min(count, PROGRAMS)
        sums = torch.empty(programs if trains else 1, width, dtype=torch.float32, device=rows.device)
        each = -(-count // programs)
        triton.code("rms_norm").backward[(programs,)](
            *(rows, weight, scales, gradient, towards_x, sums, count, width, each),
            FROM_ONE=ctx.from_one,
            TRAINS=trains,
            SIZE=size,
            num_warps=_warps(size),
        )
        towards_weight = sums.sum(0).to(weight.dtype) if trains else None
        return towards_x.view(gradients[0].shape), towards_weight, None, None


def _warps(size: int) -> int:
    """Of 32 threads each, so that a thread holds at most 16 numbers of a row."""
    return min(32, max(1, size // 512))
