"""LoRA in PEFT's format, and what is a LoRA to PEFT: rsLoRA, LoRA+, PiSSA.

PEFT knows whole modules only. Adapters on parts of a fused projection are written as one: their A (R, I) one below the
other, their B (O, R) side by side, each in the rows of its part and zero elsewhere. Rank and alpha grow together, so
the scaling stays. PiSSA's change B A - B0 A0 is a LoRA of twice the rank on the untouched base: [B, -B0] [A; A0].
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from accorda.errors import Refusal
from accorda.methods.contract import Method
from accorda.methods.reparametrized.dora import DoRA, DoRAAdapter
from accorda.methods.reparametrized.lora import LoRA, LoRAAdapter
from accorda.methods.reparametrized.lora_plus import LoRAPlus, LoRAPlusAdapter
from accorda.methods.reparametrized.pissa import PiSSA, PiSSAAdapter
from accorda.methods.reparametrized.rslora import RsLoRA, RsLoRAAdapter
from accorda.methods.storage.peft_config import PREFIX, read_fields, short
from accorda.methods.storage.peft_parts import Part, hosted, is_conv1d, spread
from accorda.methods.storage.peft_targets import (
    Names,
    Targets,
    check_patterns,
    our_targets,
    pattern_value,
    targeted,
    targets_for,
)
from accorda.methods.storage.strict import check_tensors, shape
from accorda.models.roles import features
from accorda.recipe.types import PositiveFloat, PositiveInt, Share

PEFT_TYPE = "LORA"
UNUSED = {"fan_in_fan_out", "megatron_core", "loftq_config", "eva_config", "corda_config", "lora_ga_config"}
UNUSED |= {"qalora_group_size", "ensure_weight_tying"}
KEEPS_BASE = (True, False, "true", "gaussian", "orthogonal", "eva")  # starts that leave the base's weights alone

Product = LoRAAdapter | RsLoRAAdapter | LoRAPlusAdapter | PiSSAAdapter | DoRAAdapter
PRODUCTS = (LoRAAdapter, RsLoRAAdapter, LoRAPlusAdapter, PiSSAAdapter, DoRAAdapter)
Parts = list[Part[Product]]


@dataclass(frozen=True, kw_only=True)
class Fields(Targets):
    """The fields of a LoraConfig that decide what is computed."""

    r: PositiveInt = 8
    lora_alpha: PositiveFloat = 8.0
    lora_dropout: Share = 0.0
    use_rslora: bool = False
    rank_pattern: dict[str, PositiveInt] = field(default_factory=dict)
    alpha_pattern: dict[str, PositiveFloat] = field(default_factory=dict)
    bias: str = "none"
    init_lora_weights: bool | str = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_patterns((*self.rank_pattern, *self.alpha_pattern))

    def size(self, path: str) -> tuple[int, float]:
        """Rank and alpha of a module."""
        rank = pattern_value(self.rank_pattern, path, self.r)
        return rank, pattern_value(self.alpha_pattern, path, self.lora_alpha)


def reads(config: Mapping[str, Any]) -> bool:
    """Every LoRA file but those with magnitudes."""
    return not config.get("use_dora")


def fits(methods: Sequence[Method], model: PreTrainedModel, name: str) -> bool:
    """Whether an adapter can be written: nothing but scaled products, with one scaling per module."""
    products = all(isinstance(method, LoRA | RsLoRA | LoRAPlus | PiSSA) for method in methods)
    return products and has_one_scaling(model, name)


def has_one_scaling(model: PreTrainedModel, name: str) -> bool:
    """Whether all parts of a module scale their products alike, on every module."""
    return all(len({adapter.scaling for _, adapter, _ in parts}) == 1 for _, _, parts in modules(model, name))


def config(methods: Sequence[Method], model: PreTrainedModel, name: str) -> dict[str, Any]:
    """The fields of a LoraConfig. The most frequent rank and alpha stand as `r` and `lora_alpha`."""
    stabilised = all(isinstance(method, RsLoRA) for method in methods)
    sizes = {path: _size(parts, stabilised) for path, _, parts in modules(model, name)}
    (rank, alpha), _ = Counter(sizes.values()).most_common(1)[0]
    others = {size: {path for path in sizes if sizes[path] == size} for size in sizes.values() if size != (rank, alpha)}
    named = [(key, size) for size, paths in others.items() for key in targets_for(model, paths)]
    dropouts = [method.dropout for method in methods if isinstance(method, LoRA | RsLoRA | LoRAPlus | DoRA)]
    return {
        "r": rank,
        "lora_alpha": short(alpha),
        "lora_dropout": max(dropouts, default=0.0),
        "target_modules": targets_for(model, set(sizes)),
        "rank_pattern": {key: size[0] for key, size in named if size[0] != rank},
        "alpha_pattern": {key: short(size[1]) for key, size in named if size[1] != alpha},
        "fan_in_fan_out": any(is_conv1d(module) for _, module, _ in modules(model, name)),
        "init_lora_weights": True,
        "bias": "none",
        "use_rslora": stabilised,
        "use_dora": False,
    }


def encode(model: PreTrainedModel, name: str) -> dict[str, Tensor]:
    """The tensors of the file: per module lora_A (R, I) and lora_B (O, R)."""
    tensors = {}
    for path, module, parts in modules(model, name):
        out_features, found = features(module)[1], [(f, rows) for _, adapter, rows in parts for f in _factors(adapter)]
        tensors[f"{PREFIX}{path}.lora_A.weight"] = torch.cat([f.A for f, _ in found])
        columns = [spread(f.sign * f.B, rows, out_features) for f, rows in found]
        tensors[f"{PREFIX}{path}.lora_B.weight"] = torch.cat(columns, dim=1)
    return tensors


def decode(
    model: PreTrainedModel, name: str, config: Mapping[str, Any], tensors: Mapping[str, Tensor], where: str
) -> dict[str, Tensor]:
    """The tensors of the installed adapter, under their own names, from those of the file."""
    check_tensors(encode(model, name), tensors, where)
    own = {}
    for path, _, parts in modules(model, name):
        A, B = tensors[f"{PREFIX}{path}.lora_A.weight"], tensors[f"{PREFIX}{path}.lora_B.weight"]
        found = [(key, f, rows) for key, adapter, rows in parts for f in _factors(adapter)]
        ranks = [len(f.A) for _, f, _ in found]
        for (key, f, rows), part_A, part_B in zip(found, A.split(ranks), B.split(ranks, dim=1), strict=True):
            own[f"{path}.{key}.{f.name}_A"] = part_A
            inside = part_B if rows is None else part_B[rows]
            own[f"{path}.{key}.{f.name}_B"] = f.sign * inside
            if rows is not None and part_B.count_nonzero() != inside.count_nonzero():
                raise Refusal(
                    f"{where}: {path}.lora_B reaches beyond the rows of {key.partition('_')[2]} it was made for"
                )
    return own


def methods(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], model: PreTrainedModel, where: str
) -> tuple[Method, ...]:
    """The LoRA or rsLoRA, or one for every rank and alpha, that computes what a file by PEFT describes."""
    fields = read_fields(Fields, config, UNUSED, where)
    kind = RsLoRA if fields.use_rslora else LoRA
    return tuple(
        kind(target_modules=targets, rank=rank, alpha=alpha, dropout=fields.lora_dropout)
        for targets, rank, alpha in sized(fields, tensors, model, where)
    )


def sized(
    fields: Fields, tensors: Mapping[str, Tensor], model: PreTrainedModel, where: str
) -> Iterator[tuple[Names, int, float]]:
    """Targets of ours, rank and alpha, for every rank and alpha that the fields give a module."""
    if fields.bias != "none":
        raise Refusal(f"{where}: bias = {fields.bias}: accorda's LoRA trains no biases; merge the adapter with PEFT")
    if (start := fields.init_lora_weights) not in KEEPS_BASE:
        raise Refusal(f"{where}: init_lora_weights = {start} changes the base's weights; convert the adapter with PEFT")
    paths = targeted(fields, model)
    if not paths:
        raise Refusal(f"{where}: target_modules = {fields.target_modules!r} matches nothing in this model")
    sizes = {path: fields.size(path) for path in sorted(paths)}
    for path, (rank, _) in sizes.items():
        A = tensors.get(f"{PREFIX}{path}.lora_A.weight")
        if A is not None and A.shape[:1] != (rank,):
            raise Refusal(f"{where}: {path}.lora_A has shape {shape(A)}, the config's rank for it is {rank}")
    for rank, alpha in dict.fromkeys(sizes.values()):
        yield our_targets(model, {path for path in paths if sizes[path] == (rank, alpha)}), rank, alpha


def modules(model: PreTrainedModel, name: str) -> Iterator[tuple[str, nn.Module, Parts]]:
    """The modules with products of this name, and the parts on each."""
    return hosted(model, name, PRODUCTS)


@dataclass(frozen=True)
class _Factors:
    """One product of an adapter, added or subtracted; `name` begins the names of its two tensors."""

    name: str
    A: Tensor
    B: Tensor
    sign: int = 1


def _factors(adapter: Product) -> list[_Factors]:
    """The products that an adapter adds up, on the CPU."""
    found = [_Factors("lora", adapter.lora_A.detach().cpu(), adapter.lora_B.detach().cpu())]
    if isinstance(adapter, PiSSAAdapter):
        found.append(_Factors("start", adapter.start_A.cpu(), adapter.start_B.cpu(), -1))
    return found


def _size(parts: Parts, stabilised: bool) -> tuple[int, float]:
    """Rank and alpha of all parts of a module together."""
    rank = sum(len(f.A) for _, adapter, _ in parts for f in _factors(adapter))
    return rank, parts[0][1].scaling * (math.sqrt(rank) if stabilised else rank)
