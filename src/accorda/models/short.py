"""Packed attention in bf16 on a CPU: torch's fused forward pass, and a backward pass of plain products.

The fused backward pass takes three times as long for segments of one or two hundred tokens, and needs the output kept
beside what it was made of. Here the weights P of a segment are formed once more,

    P  = softmax(scaling q k^T)       dS = P (dO V^T - sum(P dO V^T))
    dV = P^T dO                       dQ = scaling dS K        dK = dS^T (scaling Q),

so the graph keeps q, k and v alone. `kernels.attend_segments` is the reference.
"""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from accorda.models.kernels import Scoring, attend, visible

Borders = tuple[tuple[int, ...], tuple[int, ...]]  # of queries and of keys
MOST_SCORES = 2**23  # of one segment, over all heads: 17 MB in bf16


def runs_here(q_BHTK: Tensor, scoring: Scoring, borders: Borders) -> bool:
    """Whether this can be computed here: bf16 on a CPU, segments that are not long, and nothing but a causal mask."""
    sizes = [[end - begin for begin, end in pairwise(side)] for side in borders]
    longest = max(queries * keys for queries, keys in zip(*sizes, strict=True))
    bare = (
        scoring.softcap is None and not scoring.dropout and (scoring.window is None or scoring.window >= max(sizes[1]))
    )
    aligned = not scoring.causal or sizes[0] == sizes[1]
    fits = q_BHTK.shape[1] * longest <= MOST_SCORES
    return q_BHTK.device.type == "cpu" and q_BHTK.dtype == torch.bfloat16 and bare and aligned and fits


def attend_short(q_BHTK: Tensor, k_BHTK: Tensor, v_BHTK: Tensor, scoring: Scoring, *, borders: Borders) -> Tensor:
    """Attention within each segment alone, (1, H, T, K); tokens lie before heads in memory, as the model wants them."""
    out = _Attention.apply(q_BHTK, k_BHTK, v_BHTK, scoring, borders)
    assert isinstance(out, Tensor)
    return out


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q_BHTK: Tensor, k_BHTK: Tensor, v_BHTK: Tensor, scoring: Scoring, borders: Borders) -> Tensor:
        ctx.save_for_backward(q_BHTK, k_BHTK, v_BHTK)
        ctx.scoring, ctx.borders = scoring, borders
        out = _like(q_BHTK, v_BHTK.shape[-1])
        for queries, keys in _segments(borders):
            parts = q_BHTK[:, :, queries], k_BHTK[:, :, keys], v_BHTK[:, :, keys]
            out[:, :, queries] = attend(*parts, scoring)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        q_BHTK, k_BHTK, v_BHTK = ctx.saved_tensors
        found = [_like(tensor, tensor.shape[-1]) for tensor in (q_BHTK, k_BHTK, v_BHTK)]
        for queries, keys in _segments(ctx.borders):
            parts = q_BHTK[0, :, queries], k_BHTK[0, :, keys], v_BHTK[0, :, keys], gradients[0][0, :, queries]
            for all_of_it, part, span in zip(found, _backward(*parts, ctx.scoring), (queries, keys, keys), strict=True):
                all_of_it[0, :, span] = part
        return *found, None, None


def _backward(
    q_HTK: Tensor, k_HTK: Tensor, v_HTK: Tensor, towards_out: Tensor, scoring: Scoring
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients towards queries, keys and values of one segment."""
    scaling = q_HTK.shape[-1] ** -0.5 if scoring.scaling is None else scoring.scaling
    heads, group = k_HTK.shape[0], q_HTK.shape[0] // k_HTK.shape[0]
    k, v = (x.repeat_interleave(group, 0) if group > 1 else x for x in (k_HTK, v_HTK))
    q = q_HTK * scaling  # far fewer numbers than scores
    scores = _scores(q, k.transpose(1, 2), scoring)
    weights = scores.softmax(-1)
    towards_v = weights.transpose(1, 2) @ towards_out
    towards_weights = towards_out @ v.transpose(1, 2)
    towards_scores = torch.ops.aten._softmax_backward_data(towards_weights, weights, -1, weights.dtype)
    towards_k = towards_scores.transpose(1, 2) @ q
    if group > 1:
        towards_k, towards_v = (x.unflatten(0, (heads, group)).sum(1) for x in (towards_k, towards_v))
    return (towards_scores @ k).mul_(scaling), towards_k, towards_v


def _scores(q: Tensor, towards_k: Tensor, scoring: Scoring) -> Tensor:
    """The product of queries (H, Q, K) and keys (H, K, T), minus infinity where nothing is seen."""
    if not scoring.causal:
        return q @ towards_k
    seen = visible(q.shape[1], towards_k.shape[2], scoring, q.device)[0]
    hidden = torch.zeros(seen.shape, dtype=q.dtype, device=q.device).masked_fill_(~seen, -torch.inf)
    return torch.baddbmm(hidden.expand(len(q), -1, -1), q, towards_k)


def _segments(borders: Borders) -> list[tuple[slice, slice]]:
    """Where each segment's queries and keys are."""
    return [(slice(*queries), slice(*keys)) for queries, keys in zip(*map(pairwise, borders), strict=True)]


def _like(x_BHTK: Tensor, width: int) -> Tensor:
    """An empty (B, H, T, width) in which tokens lie before heads."""
    batch, heads, tokens, _ = x_BHTK.shape
    return x_BHTK.new_empty(batch, tokens, heads, width).transpose(1, 2)
