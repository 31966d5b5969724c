"""LoRA in PEFT's format.

PEFT knows whole modules only. Adapters on parts of a fused projection are written as one: their A (R, I) one below the
other, their B (O, R) side by side, each in the rows of its part and zero elsewhere. Rank and alpha grow together, so
the scaling stays.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from accorda.errors import Refusal
from accorda.methods import host
from accorda.methods.contract import Method
from accorda.methods.install import hosts
from accorda.methods.reparametrized.lora import LoRA, LoRAAdapter
from accorda.methods.storage.peft_config import PREFIX, read_fields
from accorda.methods.storage.peft_targets import Targets, check_patterns, pattern_value, targeted, targets_for
from accorda.methods.storage.strict import check_tensors, shape
from accorda.models.roles import features, find
from accorda.quantization import QuantizedLinear
from accorda.recipe.types import PositiveFloat, PositiveInt, Share

PEFT_TYPE = "LORA"
UNUSED = {"fan_in_fan_out", "megatron_core", "loftq_config", "eva_config", "corda_config", "lora_ga_config"}
UNUSED |= {"qalora_group_size", "ensure_weight_tying"}
KEEPS_BASE = (True, False, "true", "gaussian", "orthogonal", "eva")  # starts that leave the base's weights alone


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
        """Rank of a module and the alpha that gives PEFT's scaling: alpha / rank, or alpha / sqrt(rank) for rsLoRA."""
        rank = pattern_value(self.rank_pattern, path, self.r)
        alpha = pattern_value(self.alpha_pattern, path, self.lora_alpha)
        return rank, alpha * (math.sqrt(rank) if self.use_rslora else 1.0)


def fits(methods: Sequence[Method], model: PreTrainedModel, name: str) -> bool:
    """Whether an adapter can be written: LoRA alone, with one scaling per module."""
    if not all(isinstance(method, LoRA) for method in methods):
        return False
    return all(len({adapter.scaling for _, adapter, _ in parts}) == 1 for _, _, parts in _modules(model, name))


def config(methods: Sequence[Method], model: PreTrainedModel, name: str) -> dict[str, Any]:
    """The fields of a LoraConfig. The most frequent rank and alpha stand as `r` and `lora_alpha`."""
    sizes = {path: _size(parts) for path, _, parts in _modules(model, name)}
    (rank, alpha), _ = Counter(sizes.values()).most_common(1)[0]
    others = {size: {path for path in sizes if sizes[path] == size} for size in sizes.values() if size != (rank, alpha)}
    named = [(key, size) for size, paths in others.items() for key in targets_for(model, paths)]
    return {
        "r": rank,
        "lora_alpha": _short(alpha),
        "lora_dropout": max(method.dropout for method in methods if isinstance(method, LoRA)),
        "target_modules": targets_for(model, set(sizes)),
        "rank_pattern": {key: size[0] for key, size in named if size[0] != rank},
        "alpha_pattern": {key: _short(size[1]) for key, size in named if size[1] != alpha},
        "fan_in_fan_out": any(_is_conv1d(module) for _, module, _ in _modules(model, name)),
        "init_lora_weights": True,
        "bias": "none",
        "use_rslora": False,
        "use_dora": False,
    }


def encode(model: PreTrainedModel, name: str) -> dict[str, Tensor]:
    """The tensors of the file: per module lora_A (R, I) and lora_B (O, R)."""
    tensors = {}
    for path, module, parts in _modules(model, name):
        matrices = [(adapter.lora_A.detach().cpu(), adapter.lora_B.detach().cpu(), rows) for _, adapter, rows in parts]
        tensors[f"{PREFIX}{path}.lora_A.weight"] = torch.cat([A for A, _, _ in matrices])
        columns = [B if rows is None else _spread(B, rows, features(module)[1]) for _, B, rows in matrices]
        tensors[f"{PREFIX}{path}.lora_B.weight"] = torch.cat(columns, dim=1)
    return tensors


def decode(
    model: PreTrainedModel, name: str, config: Mapping[str, Any], tensors: Mapping[str, Tensor], where: str
) -> dict[str, Tensor]:
    """The tensors of the installed adapter, under their own names, from those of the file."""
    check_tensors(encode(model, name), tensors, where)
    own = {}
    for path, _, parts in _modules(model, name):
        A, B = tensors[f"{PREFIX}{path}.lora_A.weight"], tensors[f"{PREFIX}{path}.lora_B.weight"]
        ranks = [adapter.lora_A.shape[0] for _, adapter, _ in parts]
        for (key, _, rows), part_A, part_B in zip(parts, A.split(ranks), B.split(ranks, dim=1), strict=True):
            own[f"{path}.{key}.lora_A"] = part_A
            own[f"{path}.{key}.lora_B"] = inside = part_B if rows is None else part_B[rows]
            if rows is not None and part_B.count_nonzero() != inside.count_nonzero():
                raise Refusal(
                    f"{where}: {path}.lora_B reaches beyond the rows of {key.partition('_')[2]} it was made for"
                )
    return own


def methods(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], model: PreTrainedModel, where: str
) -> tuple[Method, ...]:
    """The LoRA, or one for every rank and alpha, that computes what a file by PEFT describes."""
    fields = read_fields(Fields, config, UNUSED, where)
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
    by_size = {size: {path for path in paths if sizes[path] == size} for size in sizes.values()}
    return tuple(
        LoRA(target_modules=_targets(model, names), rank=rank, alpha=alpha, dropout=fields.lora_dropout)
        for (rank, alpha), names in by_size.items()
    )


Part = tuple[str, LoRAAdapter, Tensor | None]  # key on its module, adapter, output rows (None: all)


def _modules(model: PreTrainedModel, name: str) -> Iterator[tuple[str, nn.Module, list[Part]]]:
    """The modules with a LoRA of this name, and the parts on each."""
    for path, module in hosts(model):
        parts = [
            (one.key, one.adapter, one.base.rows)
            for one in host.placed(module, name)
            if isinstance(one.adapter, LoRAAdapter)
        ]
        if parts:
            yield path, module, parts


def _is_conv1d(module: nn.Module) -> bool:
    """Whether the base's own module, dense, holds its weight as (in, out)."""
    return isinstance(module, Conv1D) or (isinstance(module, QuantizedLinear) and module.was_conv1d)


def _size(parts: Sequence[Part]) -> tuple[int, float]:
    """Rank and alpha of all parts of a module together."""
    rank = sum(adapter.lora_A.shape[0] for _, adapter, _ in parts)
    return rank, parts[0][1].scaling * rank


def _spread(B: Tensor, rows: Tensor, out_features: int) -> Tensor:
    """B (O', R) of a part as one of the whole module (O, R), zero outside its rows."""
    return B.new_zeros(out_features, B.shape[1]).index_copy(0, rows, B)


def _targets(model: PreTrainedModel, paths: set[str]) -> str | tuple[str, ...]:
    """`target_modules` of ours that find exactly these modules, whole."""
    for targets in ("all-linear", tuple(targets_for(model, paths)), tuple(sorted(paths))):
        sites = find(model, targets)
        if {site.name for site in sites} == paths and all(site.rows is None for site in sites):
            return targets
    raise AssertionError(f"a module's full name does not find it: {sorted(paths)}")


def _short(value: float) -> int | float:
    """A whole number without its point, as servers expect of alpha."""
    return int(value) if value == int(value) else value
