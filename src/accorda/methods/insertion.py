"""Soft prompts among the embedded tokens of a backbone's inputs, and how to cut them off its output again.

Rows: each row's prompt directly before its tokens; where rows have prompts of different lengths, the shorter ones are
filled up in front and masked. Packed rows: each segment's prompt before the segment.
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn

from accorda.errors import Refusal
from accorda.methods.contract import SoftPrompt
from accorda.methods.routing import Routing
from accorda.models.attention import Packing

Inputs = dict[str, Any]


@dataclass(frozen=True)
class Cut:
    """Which positions of a backbone's output are the caller's tokens, and how these were packed."""

    length: int = 0
    kept: Tensor | None = None
    packing: Packing | None = None

    def apply(self, hidden: Tensor) -> Tensor:
        """(B, P + T, D) -> (B, T, D)."""
        return hidden[:, self.length :] if self.kept is None else hidden.index_select(1, self.kept)


class Fronts:
    """The prompts in front of each row or segment, one after the other."""

    def __init__(self, prompts: list[tuple[SoftPrompt, ...]]):
        self.prompts = prompts
        self.lengths = [sum(prompt.num_virtual_tokens for prompt in mine) for mine in prompts]
        self.most = max(self.lengths)
        self.uneven = len(set(self.lengths)) > 1

    def vectors(self) -> list[Tensor | None]:
        """The vectors (P, D) in front of each row or segment; None where there are none."""
        made = {mine: torch.cat([prompt.embeds() for prompt in mine]) if mine else None for mine in set(self.prompts)}
        return [made[mine] for mine in self.prompts]

    def length(self, device: torch.device) -> Tensor:
        """Vectors per row, (B, 1)."""
        return torch.tensor(self.lengths, device=device)[:, None]

    def slots(self, device: torch.device) -> Tensor:
        """The number of the vector in each position in front, (B, most); negative where nothing stands."""
        return torch.arange(self.most, device=device)[None] - (self.most - self.length(device))

    def stacked(self, like: Tensor) -> Tensor:
        """(B, most, D) in the dtype of `like`: shorter prompts stand at the end, zeros before them."""
        width, filled = like.shape[-1], {}
        for mine, front, length in zip(self.prompts, self.vectors(), self.lengths, strict=True):
            if mine not in filled:
                empty = like.new_zeros(self.most - length, width)
                filled[mine] = empty if front is None else torch.cat([empty, front.to(like.dtype)])
        return torch.stack([filled[mine] for mine in self.prompts])


def insert(
    backbone: nn.Module, inputs: Inputs, stack: str, prompts: Mapping[str, Sequence[SoftPrompt]], routing: Routing
) -> Cut | None:
    """Change the backbone's inputs in place. Returns how to cut, None where nothing is to be cut.

    An encoder's output keeps its prompts: the decoder attends to them.
    """
    packing: Packing | None = inputs.get("packing")
    if stack == "decoder":
        _widen_encoderside_of(inputs, prompts, routing, packing)
        return None
    _fill_placeholders(backbone, inputs, stack, prompts, routing)
    given = inputs["inputs_embeds"] if inputs.get("input_ids") is None else inputs["input_ids"]
    fronts = fronts_of(prompts, routing, num_rows(inputs, stack))
    if not fronts.most:
        return None
    if packing is not None:
        cut = _into_packed(backbone, inputs, stack, fronts, packing)
    else:
        cut = _before_rows(backbone, inputs, fronts, given)
    return None if stack == "encoder" else cut


def fronts_of(
    prompts: Mapping[str, Sequence[SoftPrompt]],
    routing: Routing,
    number: int,
    placement: Literal["front", "attention"] = "front",
) -> Fronts:
    """What the route puts in front of each of a number of rows or segments, or before their keys and values."""
    rows = routing.route.rows
    if rows is None:
        return Fronts([_acting(routing.route.active, prompts, placement)] * number)
    if len(rows) != number:
        raise Refusal(f"use: {len(rows)} rows were given, and the batch has {number}")
    return Fronts([_acting((row,) if row else (), prompts, placement) for row in rows])


def num_rows(inputs: Inputs, stack: str) -> int:
    """The rows or packed segments of a backbone's inputs."""
    packing: Packing | None = inputs.get("packing")
    given = inputs["inputs_embeds"] if inputs.get("input_ids") is None else inputs["input_ids"]
    return given.shape[0] if packing is None else len(packing.of(side_of(stack))) - 1


def first_position(backbone: nn.Module) -> int:
    """The position of a row's first token: 0, or the one after the padding index (RoBERTa)."""
    padding = getattr(getattr(backbone, "embeddings", None), "padding_idx", None)
    return 0 if padding is None else padding + 1


def _acting(
    names: Sequence[str], prompts: Mapping[str, Sequence[SoftPrompt]], placement: str
) -> tuple[SoftPrompt, ...]:
    """The prompts of these adapters that stand at this place."""
    return tuple(prompt for name in names for prompt in prompts.get(name, ()) if prompt.placement == placement)


def _embedded(backbone: Any, inputs: Inputs) -> Tensor:
    """Take the token ids out of the inputs and give their embeddings (B, T, D), scaled as the model scales them."""
    ids, embedded = inputs.pop("input_ids", None), inputs.pop("inputs_embeds", None)
    return backbone.get_input_embeddings()(ids) if embedded is None else embedded


def _before_rows(backbone: nn.Module, inputs: Inputs, fronts: Fronts, given: Tensor) -> Cut | None:
    """In front of every row at its first forward pass; later passes, which find it cached, only count and unmask it."""
    cache = inputs.get("past_key_values")
    cached = 0 if cache is None else int(cache.get_seq_length())
    seen = max(cached - fronts.most, 0)  # of the caller's own tokens
    _widen_mask(inputs, "attention_mask", fronts, seen + given.shape[1], given.device)
    _shift_positions(backbone, inputs, fronts, range(seen, seen + given.shape[1]), given.device, first=not cached)
    if cached:
        return None
    x = _embedded(backbone, inputs)
    inputs["inputs_embeds"] = torch.cat([fronts.stacked(x), x], dim=1)
    if (kinds := inputs.get("token_type_ids")) is not None:
        inputs["token_type_ids"] = torch.cat([kinds.new_zeros(kinds.shape[0], fronts.most), kinds], dim=1)
    return Cut(length=fronts.most)


def _widen_mask(inputs: Inputs, key: str, fronts: Fronts, num_tokens: int, device: torch.device) -> None:
    """Put the prompts' own mask (B, P) in front of one of (B, T), which is made where prompts are uneven."""
    mask: Tensor | None = inputs.get(key)
    front = fronts.slots(device) >= 0
    if mask is None:
        if not fronts.uneven:
            return
        mask = torch.ones(front.shape[0], num_tokens, dtype=torch.long, device=device)
    if mask.ndim != 2:
        raise Refusal(f"prompts need {key} with two axes (rows, tokens), not {mask.ndim}")
    inputs[key] = torch.cat([front.to(mask.dtype), mask], dim=1)


def _shift_positions(
    backbone: nn.Module, inputs: Inputs, fronts: Fronts, tokens: range, device: torch.device, *, first: bool
) -> None:
    """Tokens come after their row's prompt. Left to the model where it counts right by itself."""
    positions: Tensor | None = inputs.get("position_ids")
    start = first_position(backbone)
    if positions is None:
        if not fronts.uneven or not _counts_right(backbone):
            return
        positions = torch.arange(tokens.start, tokens.stop, device=device)[None] + start
    shifted = positions + fronts.length(device)
    if first:
        shifted = torch.cat([fronts.slots(device).clamp(min=0) + start, shifted], dim=1)
    inputs["position_ids"] = shifted


def takes_positions(backbone: nn.Module) -> bool:
    """Whether the class is told its positions."""
    return "position_ids" in inspect.signature(type(backbone).forward).parameters


def _counts_right(backbone: nn.Module) -> bool:
    """Whether the class is told its positions; without, only relative ones do for rows with different prompts."""
    if takes_positions(backbone):
        return True
    if hasattr(backbone, "embed_positions"):
        raise Refusal(
            f"{type(backbone).__name__} counts positions inside: rows of one batch need prompts of one length"
        )
    return False


def _into_packed(backbone: nn.Module, inputs: Inputs, stack: str, fronts: Fronts, packing: Packing) -> Cut:
    """Each segment's prompt before the segment: new borders, and positions that go on in the segment."""
    x, spans = _embedded(backbone, inputs), list(pairwise(packing.of(side_of(stack))))
    pieces, kept, numbers = [], [], []
    positions: Tensor | None = inputs.get("position_ids")
    for front, length, shift, (start, end) in zip(
        fronts.vectors(), fronts.lengths, accumulate(fronts.lengths), spans, strict=True
    ):
        if front is not None:
            pieces.append(front.to(x.dtype)[None])
        pieces.append(x[:, start:end])
        kept.append(torch.arange(start + shift, end + shift, device=x.device))
        if positions is not None:
            own = torch.arange(length, device=x.device)[None] + first_position(backbone)
            numbers += [own, positions[:, start:end] + length]
    inputs["inputs_embeds"] = torch.cat(pieces, dim=1)
    if positions is not None:
        inputs["position_ids"] = torch.cat(numbers, dim=1)
    inputs["packing"] = _widened(packing, stack, fronts)
    return Cut(kept=torch.cat(kept), packing=packing)


def _widened(packing: Packing, stack: str, fronts: Fronts) -> Packing:
    """The packing with the prompts counted in."""
    side = side_of(stack)
    wider = (0, *(end + shift for end, shift in zip(packing.of(side)[1:], accumulate(fronts.lengths), strict=True)))
    return Packing(packing.borders, wider) if side == "encoder" else Packing(wider, packing.encoder_borders)


def _widen_encoderside_of(
    inputs: Inputs, prompts: Mapping[str, Sequence[SoftPrompt]], routing: Routing, packing: Packing | None
) -> None:
    """Let a decoder attend to the prompts that its encoder's output holds."""
    states: Tensor | None = inputs.get("encoder_hidden_states")
    if packing is not None:
        fronts = fronts_of(prompts, routing, len(packing.borders) - 1)
        inputs["packing"] = _widened(packing, "encoder", fronts)
    elif states is not None:
        fronts = fronts_of(prompts, routing, states.shape[0])
        _widen_mask(inputs, "encoder_attention_mask", fronts, states.shape[1] - fronts.most, states.device)


def _fill_placeholders(
    backbone: nn.Module, inputs: Inputs, stack: str, prompts: Mapping[str, Sequence[SoftPrompt]], routing: Routing
) -> None:
    """Turn ids into embeddings where prompts stand at placeholders: id -1 is the prompt's first vector."""
    ids: Tensor | None = inputs.get("input_ids")
    if ids is None or all(prompt.placement != "placeholder" for mine in prompts.values() for prompt in mine):
        return
    inputs["input_ids"] = ids.clamp(min=0)
    x = _embedded(backbone, inputs)
    for group in routing.groups(ids, stack):
        mine = list(_acting(group.names, prompts, "placeholder"))
        if len(mine) > 1:
            raise Refusal(f"two prompts with placeholders cannot act at once: {', '.join(group.names)}")
        number = -group.take(ids) - 1
        lowest = int(number.max())
        if lowest >= (mine[0].num_virtual_tokens if mine else 0):
            raise Refusal(f"input id {-lowest - 1} is a placeholder, and the prompt has no vector of that number")
        if lowest >= 0:
            vectors = mine[0].embeds().to(x.dtype)[number.clamp(min=0)]
            x = group.put(x, torch.where((number >= 0)[..., None], vectors, group.take(x)))
    inputs["inputs_embeds"] = x


def side_of(stack: str) -> Literal["encoder", "decoder"]:
    """Whose tokens a stack sees; a model of one stack is its own decoder."""
    return "encoder" if stack == "encoder" else "decoder"
