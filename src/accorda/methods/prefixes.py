"""Trained keys and values in front of those of the tokens, in every attention module.

They are made once per forward pass of a backbone and lie in the routing while it runs, where the attention function
asks for them; a recomputation finds those of its forward pass. Tokens count their positions from behind them where the
class takes positions. No cache and no mask of the model knows of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from accorda.methods.contract import SoftPrompt
from accorda.methods.insertion import Fronts, Inputs, first_position, fronts_of, num_rows, side_of, takes_positions
from accorda.methods.routing import Routing
from accorda.models.attention import Packing, Prefix
from accorda.models.roles import attentions

SOURCE, PLACE = "prefix_source", "prefix_place"  # attributes of an attention module


@dataclass(frozen=True, eq=False)
class Place:
    """Where an attention module finds its prefix."""

    routing: Routing
    stack: str
    name: str


def attend_to(model: PreTrainedModel, routing: Routing) -> None:
    """Let every attention module ask the routing for a prefix."""
    for attention in attentions(model):
        module = cast(Any, attention.module)
        module.prefix_place = Place(routing, attention.stack, attention.name)
        module.prefix_source = _prefix_of


def release(model: PreTrainedModel) -> None:
    """Let no attention module ask any more."""
    for module in model.modules():
        module.__dict__.pop(SOURCE, None)
        module.__dict__.pop(PLACE, None)


def bring(
    backbone: nn.Module, inputs: Inputs, stack: str, prompts: Mapping[str, Sequence[SoftPrompt]], routing: Routing
) -> None:
    """Make the prefixes of this forward pass, and move the positions of the tokens behind them."""
    fronts = fronts_of(prompts, routing, num_rows(inputs, stack), "attention")
    if not fronts.most:
        return
    tokens = inputs["inputs_embeds"] if inputs.get("input_ids") is None else inputs["input_ids"]
    routing.prefixes[stack] = made(fronts, stack, tokens.device)
    if takes_positions(backbone):
        _shift_positions(backbone, inputs, stack, fronts, tokens)


def made(fronts: Fronts, stack: str, device: torch.device) -> dict[str, Prefix]:
    """The prefix of each attention module of a stack, by its name: one for all rows where all have the same."""
    different = list(dict.fromkeys(fronts.prompts))
    given = {prompt: prompt.keys_values(stack) for mine in different for prompt in mine}
    names = next(iter(given.values()))
    if len(different) == 1:
        return {name: Prefix(*_joined(different[0], given, name)) for name in names}
    visible = fronts.slots(device) >= 0 if fronts.uneven else None
    return {name: Prefix(*_stacked(fronts, given, name), visible) for name in names}


def _prefix_of(module: Any) -> Prefix | None:
    place: Place = module.prefix_place
    return place.routing.prefixes.get(place.stack, {}).get(place.name)


Given = Mapping[SoftPrompt, Mapping[str, tuple[Tensor, Tensor]]]


def _joined(mine: Sequence[SoftPrompt], given: Given, name: str) -> tuple[Tensor, Tensor]:
    """Keys and values (H, P, K) of prompts that follow each other."""
    keys, values = zip(*(given[prompt][name] for prompt in mine), strict=True)
    return torch.cat(keys, 1), torch.cat(values, 1)


def _stacked(fronts: Fronts, given: Given, name: str) -> tuple[Tensor, Tensor]:
    """Keys and values (B, H, P, K) of every row: shorter prefixes stand at the end, zeros before them."""
    like = next(iter(given.values()))[name][0]
    filled = {}
    for mine in set(fronts.prompts):
        parts = _joined(mine, given, name) if mine else (like[:, :0], like[:, :0])
        missing = fronts.most - parts[0].shape[1]
        filled[mine] = [nn.functional.pad(part, (0, 0, missing, 0)) for part in parts]
    keys, values = zip(*(filled[mine] for mine in fronts.prompts), strict=True)
    return torch.stack(keys), torch.stack(values)


def _shift_positions(backbone: nn.Module, inputs: Inputs, stack: str, fronts: Fronts, tokens: Tensor) -> None:
    """Each row's or segment's tokens come after its prefix."""
    positions: Tensor | None = inputs.get("position_ids")
    packing: Packing | None = inputs.get("packing")
    cache, start, device = inputs.get("past_key_values"), first_position(backbone), tokens.device
    if positions is None:
        if packing is not None:
            positions = (packing.positions(side_of(stack), device) + start)[None]
        else:
            seen = 0 if cache is None else int(cache.get_seq_length())
            positions = torch.arange(seen, seen + tokens.shape[1], device=device)[None] + start
    shift = fronts.length(device) if fronts.uneven else fronts.most
    if packing is not None and fronts.uneven:
        lengths = [end - begin for begin, end in pairwise(packing.of(side_of(stack)))]
        shift = fronts.length(device)[:, 0].repeat_interleave(torch.tensor(lengths, device=device))[None]
    inputs["position_ids"] = positions + shift
