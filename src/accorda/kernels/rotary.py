"""Rotary position embedding with halves turned against each other. Su et al., 2021, arXiv:2104.09864, equation 34.

    o = x cos + turn(x) sin        turn((a, b)) = (-b, a) for the halves a, b of a head

Each product is rounded to x's dtype before the sum, as in the models. Back: dx = do cos - turn(do sin), nothing is kept
but cos and sin.
"""

from typing import Any

import torch
from torch import Tensor

from accorda.kernels import triton


def rotate(x_BHTK: Tensor, cos_BTK: Tensor, sin_BTK: Tensor) -> Tensor:
    """Every head of x (B, H, T, K) turned by its token's angles; cos and sin (B or 1, T, K)."""
    fits = x_BHTK.numel() and x_BHTK.stride(-1) == 1 and cos_BTK.shape[-1] == x_BHTK.shape[-1]
    alike = x_BHTK.dtype == cos_BTK.dtype == sin_BTK.dtype and x_BHTK.shape[-1] % 2 == 0
    if fits and alike and triton.takes(x_BHTK, cos_BTK, sin_BTK):
        out = _Rotary.apply(x_BHTK, cos_BTK, sin_BTK)
        assert isinstance(out, Tensor)
        return out
    return reference(x_BHTK, cos_BTK, sin_BTK)


def reference(x_BHTK: Tensor, cos_BTK: Tensor, sin_BTK: Tensor) -> Tensor:
    """The same, in torch."""
    a, b = x_BHTK.chunk(2, -1)
    return x_BHTK * cos_BTK.unsqueeze(1) + torch.cat([-b, a], -1) * sin_BTK.unsqueeze(1)


class _Rotary(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_BHTK: Tensor, cos_BTK: Tensor, sin_BTK: Tensor) -> Tensor:
        cos_BTK, sin_BTK = cos_BTK.contiguous(), sin_BTK.contiguous()
        ctx.save_for_backward(cos_BTK, sin_BTK)
        return _turned(x_BHTK, cos_BTK, sin_BTK, back=False)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = gradients
        gradient = gradient if gradient.stride(-1) == 1 else gradient.contiguous()
        return _turned(gradient, *ctx.saved_tensors, back=True), None, None


def _turned(x_BHTK: Tensor, cos_BTK: Tensor, sin_BTK: Tensor, *, back: bool) -> Tensor:
    batch, heads, tokens, width = x_BHTK.shape
    # tokens before heads in memory, as the products before and after have them
    out = torch.empty(batch, tokens, heads, width, dtype=x_BHTK.dtype, device=x_BHTK.device).transpose(1, 2)
    rows = tokens * width if len(cos_BTK) > 1 else 0
    sizes = {"HEADS": min(8, triton.next_power(heads)), "HALF": triton.next_power(width // 2)}
    triton.code("rotary").rotate[(batch * tokens,)](
        *(x_BHTK, cos_BTK, sin_BTK, out, heads, tokens, width, rows),
        *(*x_BHTK.stride()[:3], *out.stride()[:3]),
        **{"BACK": back, **sizes, **triton.UNFUSED},
    )
    return out
