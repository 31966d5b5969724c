"""Our attention function inside transformers models: packed rows never see each other and cost nothing for each other.

It enters through transformers' own registry under the name "accorda". `model(..., packing=Packing(borders))` reaches it
as a keyword. A module's attribute `prefix_source(module) -> Prefix | None` gives it a prefix.
"""

import inspect
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import sdpa_mask

from accorda.errors import Refusal
from accorda.models import short, varlen
from accorda.models.kernels import Prefix, Scoring, attend, attend_segments
from accorda.models.packing import Packing, Side
from accorda.models.roles import attentions, backbones

__all__ = ["Packing", "Prefix", "use_attention"]

NAME = "accorda"
REACHED = "reached"  # the entry of Packing.cache that says the attention function saw it


def use_attention(model: PreTrainedModel) -> str | None:
    """Set our attention function on a model. Returns None, or a sentence that says why the model keeps its own.

    A model that keeps its own runs padded batches only.
    """
    kept = f"{type(model).__name__} keeps its own attention function, so rows are padded instead of packed"
    if not model._can_set_attn_implementation():
        return kept
    if model.config.is_encoder_decoder:
        try:
            _tell_sides(model)
        except Refusal as refusal:
            return str(refusal)
    model.set_attn_implementation(NAME)
    if model.config._attn_implementation != NAME:
        return kept
    for stack, backbone in backbones(model).items():
        _watch(backbone, stack or "decoder")
    return None


def has_position_bias(model: PreTrainedModel) -> bool:
    """Whether an attention module learned a bias by distance (T5), which is formed for a whole line."""
    return any(name.rpartition(".")[2] == "relative_attention_bias" for name, _ in model.named_modules())


def _tell_sides(model: PreTrainedModel) -> None:
    """Each attention module of an encoder-decoder learns whose queries and whose keys it gets."""
    for place in attentions(model):
        keys = "encoder" if place.role == "cross_attention" else place.stack
        cast(Any, place.module).packing_sides = (place.stack, keys)


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    is_causal: bool | None = None,
    position_bias: Tensor | None = None,
    packing: Packing | None = None,
    **settings: Any,
) -> tuple[Tensor, None]:
    """The attention function transformers calls: (B, H, T, K) in, (B, T, H, K) out. Weights are never returned."""
    source = getattr(module, "prefix_source", None)
    prefix = source(module) if source is not None else None
    scoring = Scoring(
        causal=getattr(module, "is_causal", True) if is_causal is None else is_causal,
        scaling=settings.get("scaling"),
        dropout=settings.get("dropout") or 0.0,
        softcap=settings.get("softcap"),
        window=settings.get("sliding_window"),
    )
    if packing is None:
        mask = attention_mask
        out = attend(query, key, value, scoring, mask=mask, bias=position_bias, prefix=prefix)
        return out.transpose(1, 2), None
    sides: tuple[Side, Side] = getattr(module, "packing_sides", ("decoder", "decoder"))
    _check_packed(query, packing, sides[0])
    borders, plain = (packing.of(sides[0]), packing.of(sides[1])), position_bias is None and prefix is None
    if plain and query.is_cuda and len(borders[0]) == 2:  # torch's own choice for an ordinary row is the fastest
        out = attend(query, key, value, scoring)
    elif plain and varlen.runs_here(query, scoring):
        out = varlen.attend_varlen(query, key, value, scoring, packing=packing, sides=sides)
    elif plain and short.runs_here(query, scoring, borders):
        out = short.attend_short(query, key, value, scoring, borders=borders)
    else:
        out = attend_segments(query, key, value, scoring, borders=borders, bias=position_bias, prefix=prefix)
    return out.transpose(1, 2), None


def attention_mask(
    q_length: int, kv_length: int, *, allow_is_causal_skip: bool = True, **settings: Any
) -> Tensor | None:
    """The boolean mask (B, 1, queries, keys), or None for plain causal or full attention over equal lengths."""
    skip = allow_is_causal_skip and q_length == kv_length
    return sdpa_mask(q_length=q_length, kv_length=kv_length, allow_is_causal_skip=skip, **settings)


AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, attention_mask)


def _check_packed(query: Tensor, packing: Packing, side: Side) -> None:
    rows, _, tokens, _ = query.shape
    if rows != 1 or tokens != packing.of(side)[-1]:
        raise ValueError(
            f"packing ends at token {packing.of(side)[-1]}, but the batch has {rows} rows of {tokens} tokens"
        )
    packing.cache[REACHED] = True


def _watch(backbone: nn.Module, side: Side) -> None:
    """Prepare the backbone's calls with `packing`, and see that it reaches the attention function."""
    if hasattr(backbone, "packing_side"):
        return
    cast(Any, backbone).packing_side = side
    backbone.register_forward_pre_hook(_before_packed, with_kwargs=True)
    backbone.register_forward_hook(_after_packed, with_kwargs=True)
    embedding = getattr(backbone, "embed_positions", None)
    if embedding is not None:
        embedding.register_forward_pre_hook(_restart_positions, with_kwargs=True)


def _before_packed(backbone: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]] | None:
    packing: Packing | None = kwargs.get("packing")
    if hasattr(backbone, "embed_positions"):
        backbone.embed_positions.packed_positions = None  # left over where a packed pass failed
    if packing is None:
        return None
    packing.cache.pop(REACHED, None)
    device, accepted, given = next(backbone.parameters()).device, _parameters(backbone), dict(kwargs)
    for mask in {"attention_mask", "encoder_attention_mask"} & accepted:
        if kwargs.get(mask) is not None:
            raise ValueError(f"a packed row has no padding: pass packing without {mask}")
        # transformers takes a mask of four axes as it is: without it, it would build one of T x T that nobody reads.
        given[mask] = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=device)
    if "position_ids" not in accepted:
        if hasattr(backbone, "embed_positions"):
            backbone.embed_positions.packed_positions = packing.positions(backbone.packing_side, device)
    elif kwargs.get("position_ids") is None:
        positions = packing.positions(backbone.packing_side, device)
        given["position_ids"] = (positions + first_position(backbone))[None]
    return args, given


def _after_packed(backbone: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
    if hasattr(backbone, "embed_positions"):
        backbone.embed_positions.packed_positions = None
    packing: Packing | None = kwargs.get("packing")
    if packing is not None and REACHED not in packing.cache:
        raise RuntimeError(f"{type(backbone).__name__} did not hand `packing` to its attention: run it padded")


def _restart_positions(embedding: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any] | None:
    """Positions that begin anew in each segment, where a backbone counts them inside (BART)."""
    positions = getattr(embedding, "packed_positions", None)
    return None if positions is None else (args, kwargs | {"position_ids": positions})


def _parameters(backbone: nn.Module) -> set[str]:
    return set(inspect.signature(backbone.forward).parameters)


def first_position(backbone: nn.Module) -> int:
    """0, but after the padding index where a class counts from there (RoBERTa)."""
    padding = getattr(getattr(backbone, "embeddings", None), "padding_idx", None)
    return 0 if padding is None else padding + 1
