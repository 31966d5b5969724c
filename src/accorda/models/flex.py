"""Packed attention in one fused kernel on CUDA, torch's flex attention; `kernels.attend_segments` is its reference."""

from collections.abc import Callable
from functools import cache
from typing import cast

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention
from torch.utils._triton import has_triton

from accorda.models.kernels import Scoring
from accorda.models.packing import Packing, Side

Modifier = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
SMALLEST_HEAD, LARGEST_HEAD = 16, 256


def runs_here(q_BHTK: Tensor, scoring: Scoring) -> bool:
    """Whether the compiled kernel can compute this: on CUDA with Triton, head width a power of two, no dropout.

    Nor a soft cap: with its gradient torch 2.11 does not compile it (seen on an H200).
    """
    width = q_BHTK.shape[-1]
    fits = SMALLEST_HEAD <= width <= LARGEST_HEAD and width & (width - 1) == 0
    return q_BHTK.is_cuda and fits and not scoring.dropout and scoring.softcap is None and has_triton()


def attend_flex(
    q_BHTK: Tensor,
    k_BHTK: Tensor,
    v_BHTK: Tensor,
    scoring: Scoring,
    *,
    packing: Packing,
    sides: tuple[Side, Side],
) -> Tensor:
    """Attention within each segment alone, (B, H, T, K); blocks of the score matrix between segments are skipped."""
    kernel = _compiled() if q_BHTK.is_cuda else flex_attention
    out = kernel(
        q_BHTK,
        k_BHTK,
        v_BHTK,
        score_mod=None if scoring.softcap is None else _softcap(scoring.softcap),
        block_mask=block_mask(packing, sides, scoring, q_BHTK.device),
        scale=scoring.scaling,
        enable_gqa=q_BHTK.shape[1] != k_BHTK.shape[1],
    )
    return cast(Tensor, out)


def block_mask(packing: Packing, sides: tuple[Side, Side], scoring: Scoring, device: torch.device) -> BlockMask:
    """What queries of one side see of keys of another; made once per packing."""
    key = (sides, scoring.causal, scoring.window, device)
    if key not in packing.cache:
        queries, keys = (packing.segment_ids(side, device) for side in sides)

        def seen(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            same = queries[query] == keys[key]
            if scoring.causal:
                same = same & (key <= query)
            if scoring.window is not None:
                same = same & (key > query - scoring.window)
            return same

        packing.cache[key] = create_block_mask(seen, None, None, len(queries), len(keys), device=str(device))
    return cast(BlockMask, packing.cache[key])


@cache
def _softcap(softcap: float) -> Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]:
    """The score modifier; one object per value, so that the kernel is compiled once."""

    def press(score: Tensor, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return torch.tanh(score / softcap) * softcap

    return press


@cache
def _compiled() -> Callable[..., object]:
    return torch.compile(flex_attention)
