"""Attention of one query per row to its cached keys and values, in 16 bits on a CPU: what a decoded token asks for.

    out = softmax(scaling q K^T + mask) V        q (B, H, 1, K), keys and values (B, G, T, K), H a multiple of G

torch's fused kernel works through a row's keys by blocks made for many queries and takes two to six times as long. Here
scores, weights and sums are fp32; keys and values are widened for some rows at a time, so that the wide ones stay in
the processor's cache. `kernels.attend` by torch's own function is the reference.
"""

import torch
from torch import Tensor

WIDENED_AT_ONCE = 2**20  # keys, and as many values: 8 MB in fp32


def runs_here(q_BHTK: Tensor) -> bool:
    """Whether this can be computed here: one query, 16 bits, on a CPU, and nobody asks for a gradient."""
    narrow = q_BHTK.dtype in (torch.bfloat16, torch.float16)
    return q_BHTK.shape[2] == 1 and narrow and q_BHTK.device.type == "cpu" and not torch.is_grad_enabled()


def attend_one(q_BH1K: Tensor, k_BGTK: Tensor, v_BGTK: Tensor, mask: Tensor | None, scaling: float | None) -> Tensor:
    """The output (B, H, 1, V) in the query's dtype. `mask`: boolean or added, it broadcasts to (B, H, 1, T)."""
    rows, heads, _, width = q_BH1K.shape
    groups, length = k_BGTK.shape[1:3]
    factor = width**-0.5 if scaling is None else scaling
    at_once = max(1, WIDENED_AT_ONCE // max(1, k_BGTK[:1].numel()))
    mask = None if mask is None else mask.expand(rows, heads, 1, length)
    parts = []
    with torch.autocast("cpu", enabled=False):
        for begin in range(0, rows, at_once):
            some = slice(begin, begin + at_once)
            q = q_BH1K[some].float().reshape(-1, groups, heads // groups, width)
            scores = (q @ k_BGTK[some].float().transpose(2, 3)).mul_(factor)
            if mask is not None:
                seen = mask[some].reshape(scores.shape)
                scores = scores.masked_fill_(~seen, -torch.inf) if seen.dtype == torch.bool else scores.add_(seen)
            parts.append((scores.softmax(-1) @ v_BGTK[some].float()).to(q_BH1K.dtype))
    return torch.cat(parts).reshape(rows, heads, 1, v_BGTK.shape[-1])
