"""(IA)3 in PEFT's format: per module one vector, (1, I) where its input is scaled, (O, 1) where its output is.

PEFT knows whole modules only. Factors of parts of a fused projection are written as one vector, with ones in the rows
of no part.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from accorda.errors import Refusal
from accorda.methods import host
from accorda.methods.additive.ia3 import IA3, InputAdapter, OutputAdapter
from accorda.methods.contract import Method
from accorda.methods.install import hosts
from accorda.methods.storage.peft_config import PREFIX, read_fields
from accorda.methods.storage.peft_targets import Names, Targets, check_patterns, targeted, targets_for
from accorda.methods.storage.strict import check_tensors
from accorda.models.roles import features, find, is_linear, sites
from accorda.quantization import QuantizedLinear

PEFT_TYPE = "IA3"
UNUSED = {"fan_in_fan_out", "init_ia3_weights"}

Part = tuple[str, InputAdapter | OutputAdapter, Tensor | None]  # key on its module, adapter, output rows (None: all)


@dataclass(frozen=True, kw_only=True)
class Fields(Targets):
    """The fields of an IA3Config that decide what is computed."""

    feedforward_modules: Names = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.feedforward_modules, str):
            check_patterns((self.feedforward_modules,))


def fits(methods: Sequence[Method], model: PreTrainedModel, name: str) -> bool:
    """(IA)3 alone."""
    return len(methods) == 1 and isinstance(methods[0], IA3)


def config(methods: Sequence[Method], model: PreTrainedModel, name: str) -> dict[str, Any]:
    """The fields of an IA3Config."""
    paths = {path for path, _, _ in _modules(model, name)}
    scaled = {path for path, _, parts in _modules(model, name) if isinstance(parts[0][1], InputAdapter)}
    targets, feedforward = targets_for(model, paths), targets_for(model, scaled)
    if not set(feedforward) <= set(targets) or _on_input(tuple(feedforward), paths) != scaled:
        targets, feedforward = sorted(paths), sorted(scaled)
    return {
        "target_modules": targets,
        "feedforward_modules": feedforward,
        "fan_in_fan_out": any(_is_conv1d(module) for _, module, _ in _modules(model, name)),
        "init_ia3_weights": True,
    }


def encode(model: PreTrainedModel, name: str) -> dict[str, Tensor]:
    """The tensors of the file: per module ia3_l."""
    tensors = {}
    for path, module, parts in _modules(model, name):
        (_, first, _), *_ = parts
        if isinstance(first, InputAdapter):
            factors = first.ia3_l.detach()[None]
        else:
            factors = torch.ones(features(module)[1])
            for _, adapter, rows in parts:
                factors[slice(None) if rows is None else rows] = adapter.ia3_l.detach().float().cpu()
            factors = factors[:, None]
        tensors[_key(path)] = factors
    return tensors


def decode(
    model: PreTrainedModel, name: str, config: Mapping[str, Any], tensors: Mapping[str, Tensor], where: str
) -> dict[str, Tensor]:
    """The tensors of the installed adapter, under their own names, from those of the file."""
    check_tensors(encode(model, name), tensors, where)
    own = {}
    for path, _, parts in _modules(model, name):
        factors = tensors[_key(path)].flatten()
        outside = torch.ones_like(factors, dtype=torch.bool)
        for key, _, rows in parts:
            inside = slice(None) if rows is None else rows
            own[f"{path}.{key}.ia3_l"] = factors[inside]
            outside[inside] = False
        if not bool((factors[outside] == 1).all()):
            named = ", ".join(key.partition("_")[2] for key, _, _ in parts)
            raise Refusal(f"{where}: {path}.ia3_l scales more than the rows of {named} it was made for")
    return own


def methods(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], model: PreTrainedModel, where: str
) -> tuple[Method, ...]:
    """The (IA)3 that a file by PEFT describes."""
    fields = read_fields(Fields, config, UNUSED, where)
    paths = targeted(fields, model)
    if not paths:
        raise Refusal(f"{where}: target_modules = {fields.target_modules!r} matches nothing in this model")
    if others := sorted(paths - {site.name for site in sites(model) if is_linear(site.module)}):
        raise Refusal(f"{where}: target_modules names {others[0]}, which is no linear layer that accorda's ia3 scales")
    scaled = _on_input(fields.feedforward_modules, paths)
    return (IA3(target_modules=_names(model, paths), feedforward_modules=_names(model, scaled)),)


def _modules(model: PreTrainedModel, name: str) -> Iterator[tuple[str, nn.Module, list[Part]]]:
    """The modules that an (IA)3 of this name scales, and the parts of each."""
    for path, module in hosts(model):
        parts = [
            (one.key, one.adapter, one.base.rows)
            for one in host.placed(module, name)
            if isinstance(one.adapter, InputAdapter | OutputAdapter)
        ]
        if parts:
            yield path, module, parts


def _on_input(feedforward: Names, paths: set[str]) -> set[str]:
    """The modules whose input PEFT scales. Unlike a target, a name need not begin where a part of the path does."""
    if isinstance(feedforward, str):
        return {path for path in paths if re.fullmatch(feedforward, path)}
    return {path for path in paths if path.endswith(feedforward)}


def _names(model: PreTrainedModel, paths: set[str]) -> tuple[str, ...]:
    """Names by which our targets find exactly these modules."""
    short = tuple(targets_for(model, paths)) if paths else ()
    return short if not short or {site.name for site in find(model, short)} == paths else tuple(sorted(paths))


def _is_conv1d(module: nn.Module) -> bool:
    return isinstance(module, Conv1D) or (isinstance(module, QuantizedLinear) and module.was_conv1d)


def _key(path: str) -> str:
    return f"{PREFIX}{path}.ia3_l"
