"""Attention of queries to keys and values, (B, H, T, K): one row, or packed segments one after the other."""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Scoring:
    """How scores are formed: softmax(softcap(scaling q k^T + bias)) v, over what `causal` and `window` leave visible.

    `window` w: a query sees itself and the w - 1 keys before it. `scaling` None: 1 / sqrt(K).
    """

    causal: bool
    scaling: float | None = None
    dropout: float = 0.0
    softcap: float | None = None
    window: int | None = None


def attend(
    q_BHTK: Tensor,
    k_BHTK: Tensor,
    v_BHTK: Tensor,
    scoring: Scoring,
    *,
    mask: Tensor | None = None,
    bias: Tensor | None = None,
    prefix: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Attention of every query to its keys, (B, H, T, K).

    `mask` (boolean, or added to the scores) replaces what `scoring` says is visible. `bias` is added to the scores.
    `prefix`: keys and values, (H, P, K) or (B, H, P, K), that every query sees.
    """
    num_queries, num_keys = q_BHTK.shape[2], k_BHTK.shape[2]
    plain = num_queries == num_keys and bias is None and prefix is None and scoring.softcap is None
    windowed = scoring.window is not None and num_keys > scoring.window
    if mask is None and (windowed or (scoring.causal and num_queries > 1 and not plain)):
        mask = visible(num_queries, num_keys, scoring, q_BHTK.device)
    if prefix is not None:
        k_BHTK, v_BHTK, mask, bias = _in_front(prefix, k_BHTK, v_BHTK, mask, bias)
    if bias is not None:
        mask = _added(bias, mask, q_BHTK.dtype)
    if scoring.softcap is not None:
        return _softcapped(q_BHTK, k_BHTK, v_BHTK, scoring, mask)
    grouped = q_BHTK.shape[1] != k_BHTK.shape[1]
    if grouped and mask is not None and q_BHTK.is_cuda:  # masked grouped heads leave the fast kernels there
        k_BHTK, v_BHTK = _repeat(k_BHTK, q_BHTK), _repeat(v_BHTK, q_BHTK)
        grouped = False
    causal = mask is None and scoring.causal
    if num_queries == 1:  # a branch: torch.compile with dynamic lengths needs a bool, not a symbol
        causal = False
    return F.scaled_dot_product_attention(
        q_BHTK,
        k_BHTK,
        v_BHTK,
        attn_mask=mask,
        dropout_p=scoring.dropout,
        is_causal=causal,
        scale=scoring.scaling,
        enable_gqa=grouped,
    )


def attend_segments(
    q_BHTK: Tensor,
    k_BHTK: Tensor,
    v_BHTK: Tensor,
    scoring: Scoring,
    *,
    borders: tuple[tuple[int, ...], tuple[int, ...]],
    bias: Tensor | None = None,
    prefix: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Attention within each segment alone: cost is the sum of squared lengths. `borders`: of queries and of keys."""
    # split, not slices: a slice's backward fills a zero tensor of the whole length, once for every segment
    queries = q_BHTK.split([end - begin for begin, end in pairwise(borders[0])], 2)
    lengths = [end - begin for begin, end in pairwise(borders[1])]
    parts = []
    for (begin, end), (key_begin, key_end), query, key, value in zip(
        pairwise(borders[0]),
        pairwise(borders[1]),
        queries,
        k_BHTK.split(lengths, 2),
        v_BHTK.split(lengths, 2),
        strict=True,
    ):
        part = None if bias is None else bias[:, :, begin:end, key_begin:key_end]
        parts.append(attend(query, key, value, scoring, bias=part, prefix=prefix))
    return torch.cat(parts, dim=2)


def visible(num_queries: int, num_keys: int, scoring: Scoring, device: torch.device) -> Tensor:
    """What each query sees, (1, 1, queries, keys), the last query standing at the last key."""
    queries = torch.arange(num_keys - num_queries, num_keys, device=device)[:, None]
    keys = torch.arange(num_keys, device=device)[None]
    seen = keys <= queries if scoring.causal else torch.ones_like(keys - queries, dtype=torch.bool)
    if scoring.window is not None:
        if not scoring.causal:
            raise ValueError("packed rows under a bidirectional window are not supported")
        seen = seen & (keys > queries - scoring.window)
    return seen[None, None]


def _in_front(
    prefix: tuple[Tensor, Tensor], k_BHTK: Tensor, v_BHTK: Tensor, mask: Tensor | None, bias: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Keys, values, mask and bias with the prefix before them: visible to all, without bias."""
    shape = (k_BHTK.shape[0], -1, -1, -1)
    key, value = (part.to(k_BHTK.dtype).expand(shape) for part in prefix)
    width = (key.shape[2], 0)
    if mask is not None:
        mask = F.pad(mask, width, value=True if mask.dtype == torch.bool else 0.0)
    if bias is not None:
        bias = F.pad(bias, width)
    return torch.cat([key, k_BHTK], 2), torch.cat([value, v_BHTK], 2), mask, bias


def _added(bias: Tensor, mask: Tensor | None, dtype: torch.dtype) -> Tensor:
    """Bias and mask as one tensor to add to the scores."""
    if mask is None:
        return bias.to(dtype)
    if mask.dtype == torch.bool:
        return bias.to(dtype).masked_fill(~mask, torch.finfo(dtype).min)
    return (bias + mask).to(dtype)


def _softcapped(q_BHTK: Tensor, k_BHTK: Tensor, v_BHTK: Tensor, scoring: Scoring, mask: Tensor | None) -> Tensor:
    """Scores pressed into (-softcap, softcap) by tanh before the mask; softmax in float32 as Gemma 2 does."""
    scaling = scoring.scaling or q_BHTK.shape[-1] ** -0.5
    softcap = scoring.softcap or 1.0
    scores = torch.tanh(q_BHTK @ _repeat(k_BHTK, q_BHTK).transpose(2, 3) * scaling / softcap) * softcap
    if mask is not None:
        hidden = torch.finfo(scores.dtype).min
        scores = scores.masked_fill(~mask, hidden) if mask.dtype == torch.bool else scores + mask
    weights = F.dropout(scores.softmax(-1, dtype=torch.float32).to(q_BHTK.dtype), scoring.dropout)
    return weights @ _repeat(v_BHTK, q_BHTK)


def _repeat(k_BHTK: Tensor, q_BHTK: Tensor) -> Tensor:
    """Key or value heads repeated to the number of query heads."""
    return k_BHTK.repeat_interleave(q_BHTK.shape[1] // k_BHTK.shape[1], dim=1)
