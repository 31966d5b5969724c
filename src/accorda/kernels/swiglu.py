"""The gated unit of Llama's feed-forward. Shazeer, 2020, arXiv:2002.05202, equation 6 (SwiGLU).

    h = silu(g) u    silu(g) = g sigmoid(g)    dg = dh u sigmoid(g) (1 + g (1 - sigmoid(g)))    du = dh silu(g)

silu(g) is rounded to g's dtype before it is multiplied, as in the models. g and u are kept; torch's own graph of the
formula keeps silu(g) too.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from accorda.kernels import triton

SIZE = 1024


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) * up, all (..., F)."""
    if gate.dtype != up.dtype or gate.shape != up.shape:
        return reference(gate, up)
    compiled = gate.numel() and triton.takes(gate, up)
    if not (compiled or torch.is_grad_enabled()):  # without a graph an autograd function only costs its call
        return reference(gate, up)
    out = (_Compiled if compiled else _InTorch).apply(gate, up)
    assert isinstance(out, Tensor)
    return out


def reference(gate: Tensor, up: Tensor) -> Tensor:
    """The formula as models write it."""
    return F.silu(gate) * up


class _InTorch(torch.autograd.Function):
    """The same values as the reference, bit for bit, and the same gradients."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        return F.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        (gradient,) = gradients
        towards_up, towards_gate = F.silu(gate).mul_(gradient), gradient * up
        torch.ops.aten.silu_backward(towards_gate, gate, grad_input=towards_gate)
        return towards_gate, towards_up


class _Compiled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        gate, up = gate.contiguous(), up.contiguous()
        ctx.save_for_backward(gate, up)
        out = torch.empty_like(gate)
        grid = (-(-gate.numel() // SIZE),)
        triton.code("swiglu").forward[grid](gate, up, out, gate.numel(), SIZE=SIZE)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        towards_gate, towards_up = torch.empty_like(gate), torch.empty_like(up)
        grid = (-(-gate.numel() // SIZE),)
        triton.code("swiglu").backward[grid](
            gate, up, gradients[0].contiguous(), towards_gate, towards_up, gate.numel(), SIZE=SIZE
        )
        return towards_gate, towards_up
