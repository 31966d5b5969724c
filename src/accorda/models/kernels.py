"""Attention of queries to keys and values, (B, H, T, K): one row, or packed segments one after the other."""

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from accorda.models import one_query


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


class Prefix(NamedTuple):
    """Keys and values before those of the tokens: (H, P, K), or for each row or segment its own, (B, H, P, K).

    `visible` (B, P): which of them a row or segment sees; None for all.
    """

    keys: Tensor
    values: Tensor
    visible: Tensor | None = None

    def of(self, segment: int) -> "Prefix":
        """That of one packed segment."""
        if self.keys.ndim == 3:
            return self
        rows = slice(segment, segment + 1)
        return Prefix(self.keys[rows], self.values[rows], None if self.visible is None else self.visible[rows])


def attend(
    q_BHTK: Tensor,
    k_BHTK: Tensor,
    v_BHTK: Tensor,
    scoring: Scoring,
    *,
    mask: Tensor | None = None,
    bias: Tensor | None = None,
    prefix: Prefix | None = None,
) -> Tensor:
    """Attention of every query to its keys, (B, H, T, K).

    `mask` (boolean, or added to the scores) replaces what `scoring` says is visible. `bias` is added to the scores.
    `prefix` is seen by every query.
    """
    num_queries, num_keys = q_BHTK.shape[2], k_BHTK.shape[2]
    plain = num_queries == num_keys and bias is None and prefix is None and scoring.softcap is None
    windowed = scoring.window is not None and num_keys > scoring.window
    if mask is None and (windowed or (scoring.causal and num_queries > 1 and not plain)):
        mask = visible(num_queries, num_keys, scoring, q_BHTK.device)
    if prefix is not None:
        mask = _mask_in_front(prefix, q_BHTK, k_BHTK, mask)
        bias = None if bias is None else F.pad(bias, (prefix.keys.shape[-2], 0))
        k_BHTK, v_BHTK = _in_front(prefix.keys, k_BHTK), _in_front(prefix.values, v_BHTK)
    if bias is not None:
        mask = _added(bias, mask, q_BHTK.dtype)
    if scoring.softcap is not None:
        return _softcapped(q_BHTK, k_BHTK, v_BHTK, scoring, mask)
    if one_query.runs_here(q_BHTK) and not scoring.dropout:
        return one_query.attend_one(q_BHTK, k_BHTK, v_BHTK, mask, scoring.scaling)
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
    prefix: Prefix | None = None,
) -> Tensor:
    """Attention within each segment alone: cost is the sum of squared lengths. `borders`: of queries and of keys."""
    # split, not slices: a slice's backward fills a zero tensor of the whole length, once for every segment
    queries = q_BHTK.split([end - begin for begin, end in pairwise(borders[0])], 2)
    lengths = [end - begin for begin, end in pairwise(borders[1])]
    parts = []
    for segment, ((begin, end), (key_begin, key_end), query, key, value) in enumerate(
        zip(
            pairwise(borders[0]),
            pairwise(borders[1]),
            queries,
            k_BHTK.split(lengths, 2),
            v_BHTK.split(lengths, 2),
            strict=True,
        )
    ):
        part = None if bias is None else bias[:, :, begin:end, key_begin:key_end]
        front = None if prefix is None else prefix.of(segment)
        parts.append(attend(query, key, value, scoring, bias=part, prefix=front))
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


def _in_front(prefix: Tensor, k_BHTK: Tensor) -> Tensor:
    """The prefix before the keys or values of every row."""
    return torch.cat([prefix.to(k_BHTK.dtype).expand(k_BHTK.shape[0], -1, -1, -1), k_BHTK], 2)


def _mask_in_front(prefix: Prefix, q_BHTK: Tensor, k_BHTK: Tensor, mask: Tensor | None) -> Tensor | None:
    """The mask with the prefix before the keys: visible to all queries, of the rows that see it."""
    if prefix.visible is None:
        value = True if mask is None or mask.dtype == torch.bool else 0.0
        return None if mask is None else F.pad(mask, (prefix.keys.shape[-2], 0), value=value)
    num_rows, num_queries = len(prefix.visible), q_BHTK.shape[2]
    if mask is None:
        mask = k_BHTK.new_ones(1, 1, num_queries, k_BHTK.shape[2], dtype=torch.bool)
    front = prefix.visible[:, None, None].expand(num_rows, mask.shape[1], num_queries, -1)
    if mask.dtype != torch.bool:
        front = torch.zeros_like(front, dtype=mask.dtype).masked_fill(~front, torch.finfo(mask.dtype).min)
    return torch.cat([front, mask.expand(num_rows, -1, num_queries, -1)], -1)


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
