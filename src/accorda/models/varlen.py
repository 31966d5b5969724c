"""Packed attention in 16 bit on CUDA: torch's flash attention over segments of any length, nothing compiled.

`kernels.attend_segments` is the reference. The log-sum-exp of every query is all that is kept beside q, k, v and the
output; scores between segments are never formed.
"""

import inspect
from functools import cache
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.attention import varlen

from accorda.models.kernels import Scoring
from accorda.models.packing import Packing, Side

WIDEST_HEAD = 256
DTYPES = (torch.bfloat16, torch.float16)


def runs_here(q_BHTK: Tensor, scoring: Scoring) -> bool:
    """Whether it can compute this: 16 bit, a head width that is a multiple of 8, no dropout, no soft cap.

    Nor a window that is not causal, nor a card before Ampere.
    """
    width = q_BHTK.shape[-1]
    fits = width % 8 == 0 and width <= WIDEST_HEAD and _dtype(q_BHTK) in DTYPES
    bare = not scoring.dropout and scoring.softcap is None and (scoring.causal or scoring.window is None)
    return q_BHTK.is_cuda and fits and bare and _available(q_BHTK.device)


def attend_varlen(
    q_BHTK: Tensor, k_BHTK: Tensor, v_BHTK: Tensor, scoring: Scoring, *, packing: Packing, sides: tuple[Side, Side]
) -> Tensor:
    """Attention within each segment alone, (1, H, T, K); tokens lie before heads in memory, as the model wants them."""
    query, key, value = (x[0].transpose(0, 1).to(_dtype(q_BHTK)) for x in (q_BHTK, k_BHTK, v_BHTK))
    group = query.shape[1] // key.shape[1]
    settings: dict[str, Any] = {"scale": scoring.scaling, "window_size": _window(scoring)}
    if "enable_gqa" in _parameters():
        settings["enable_gqa"] = group > 1
    elif group > 1:
        key, value = key.repeat_interleave(group, 1), value.repeat_interleave(group, 1)
    (queries, longest), (keys, longest_key) = (_borders(packing, side, query.device) for side in sides)
    out = varlen.varlen_attn(query, key, value, queries, keys, longest, longest_key, **settings)
    return cast(Tensor, out).transpose(0, 1)[None]


def _window(scoring: Scoring) -> tuple[int, int]:
    """How many keys before a query and after it are seen; -1 for all."""
    before = -1 if scoring.window is None else scoring.window - 1
    return before, 0 if scoring.causal else -1


def _borders(packing: Packing, side: Side, device: torch.device) -> tuple[Tensor, int]:
    """The borders of one side on the device, and the length of its longest segment; made once per packing."""
    key = ("varlen", side, device)
    if key not in packing.cache:
        borders = packing.of(side)
        longest = max(end - start for start, end in pairwise(borders))
        packing.cache[key] = torch.tensor(borders, dtype=torch.int32, device=device), longest
    return cast(tuple[Tensor, int], packing.cache[key])


def _dtype(x: Tensor) -> torch.dtype:
    """What autocast would compute attention in; a tensor that stays wide there is rounded."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


@cache
def _available(device: torch.device) -> bool:
    return torch.cuda.get_device_capability(device) >= (8, 0) and {"scale", "window_size"} <= _parameters()


@cache
def _parameters() -> frozenset[str]:
    """What this version of torch's function can be told."""
    return frozenset(inspect.signature(varlen.varlen_attn).parameters)
