"""AdaLoRA in PEFT's format: per module lora_A (R, I), lora_E (R, 1) and lora_B (O, R), which are Q, Lambda and P.

Parts of a fused projection are written as one adapter, as for LoRA. Pruned triplets stand in our files with a Lambda of
zero; PEFT cuts them out of its own and tells which in `rank_pattern`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from accorda.errors import Refusal
from accorda.methods.contract import Method
from accorda.methods.install import own_tensors
from accorda.methods.reparametrized.adalora import AdaLoRA, AdaLoRAAdapter
from accorda.methods.storage.peft_config import PREFIX, read_fields, short
from accorda.methods.storage.peft_parts import hosted, is_conv1d, spread
from accorda.methods.storage.peft_targets import Targets, our_targets, targeted, targets_for
from accorda.methods.storage.strict import check_tensors
from accorda.models.roles import features
from accorda.recipe.types import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Share

PEFT_TYPE = "ADALORA"
UNUSED = {"r", "fan_in_fan_out", "megatron_core", "loftq_config", "qalora_group_size", "init_lora_weights"}
AXES = {"lora_A": 0, "lora_E": 0, "lora_B": 1}  # the axis of the triplets


@dataclass(frozen=True, kw_only=True)
class Fields(Targets):
    """The fields of an AdaLoraConfig that decide what is computed, or how it is trained further."""

    init_r: PositiveInt = 12
    target_r: PositiveInt = 8
    lora_alpha: PositiveFloat = 8.0
    lora_dropout: Share = 0.0
    beta1: Share = 0.85
    beta2: Share = 0.85
    orth_reg_weight: NonNegativeFloat = 0.5
    deltaT: PositiveInt = 1
    tinit: NonNegativeInt = 0
    tfinal: NonNegativeInt = 0
    total_step: PositiveInt = 1
    bias: str = "none"
    rank_pattern: dict[str, list[bool]] = field(default_factory=dict)


def fits(methods: Sequence[Method], model: PreTrainedModel, name: str) -> bool:
    """AdaLoRA alone, with as many parts on every module: PEFT has one initial rank."""
    alone = len(methods) == 1 and isinstance(methods[0], AdaLoRA)
    return alone and len({len(parts) for _, _, parts in hosted(model, name, (AdaLoRAAdapter,))}) == 1


def config(methods: Sequence[Method], model: PreTrainedModel, name: str) -> dict[str, Any]:
    """The fields of an AdaLoraConfig. Its schedule counts steps, ours shares: as of a run of 1000 steps."""
    (method,) = methods
    assert isinstance(method, AdaLoRA)
    found = list(hosted(model, name, (AdaLoRAAdapter,)))
    number = len(found[0][2])
    rank, scaling = number * method.initial_rank, found[0][2][0][1].scaling
    return {
        "init_r": rank,
        "target_r": number * method.rank,
        "lora_alpha": short(method.alpha if number == 1 else scaling * (rank + 1e-5)),
        "lora_dropout": method.dropout,
        "beta1": method.beta1,
        "beta2": method.beta2,
        "orth_reg_weight": method.orthogonality,
        "deltaT": method.every,
        "tinit": round(1000 * method.initial_share),
        "tfinal": round(1000 * method.final_share),
        "total_step": 1000,
        "target_modules": targets_for(model, {path for path, _, _ in found}),
        "fan_in_fan_out": any(is_conv1d(module) for _, module, _ in found),
        "bias": "none",
    }


def encode(model: PreTrainedModel, name: str) -> dict[str, Tensor]:
    """The tensors of the file."""
    tensors = {}
    for path, module, parts in hosted(model, name, (AdaLoRAAdapter,)):
        adapters, out_features = [adapter for _, adapter, _ in parts], features(module)[1]
        columns = [spread(adapter.P.detach().cpu(), rows, out_features) for _, adapter, rows in parts]
        tensors[f"{PREFIX}{path}.lora_A"] = torch.cat([adapter.Q.detach() for adapter in adapters])
        tensors[f"{PREFIX}{path}.lora_E"] = torch.cat([adapter.Lambda.detach() for adapter in adapters])[:, None]
        tensors[f"{PREFIX}{path}.lora_B"] = torch.cat(columns, dim=1)
    return tensors


def decode(
    model: PreTrainedModel, name: str, config: Mapping[str, Any], tensors: Mapping[str, Tensor], where: str
) -> dict[str, Tensor]:
    """The tensors of the installed adapter, under their own names; triplets that PEFT cut out are as at the start."""
    fields = read_fields(Fields, config, UNUSED, where)
    whole = _uncut(encode(model, name), fields.rank_pattern, tensors, where)
    own = {}
    for path, _, parts in hosted(model, name, (AdaLoRAAdapter,)):
        Q, Lambda, P = (whole[f"{PREFIX}{path}.lora_{leaf}"] for leaf in "AEB")
        ranks = [len(adapter.Lambda) for _, adapter, _ in parts]
        cut = zip(parts, Q.split(ranks), Lambda[:, 0].split(ranks), P.split(ranks, dim=1), strict=True)
        for (key, _, rows), part_Q, part_Lambda, part_P in cut:
            inside = part_P if rows is None else part_P[rows]
            own |= {f"{path}.{key}.Q": part_Q, f"{path}.{key}.Lambda": part_Lambda, f"{path}.{key}.P": inside}
            if part_P.count_nonzero() != inside.count_nonzero():
                raise Refusal(f"{where}: {path}.lora_B reaches beyond the rows of {key.partition('_')[2]}")
    assert own.keys() == own_tensors(model, name).keys()
    return own


def methods(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], model: PreTrainedModel, where: str
) -> tuple[Method, ...]:
    """The AdaLoRA that a file by PEFT describes."""
    fields = read_fields(Fields, config, UNUSED, where)
    if fields.bias != "none":
        raise Refusal(f"{where}: bias = {fields.bias}: accorda's AdaLoRA trains no biases; merge the adapter with PEFT")
    paths = targeted(fields, model)
    if not paths:
        raise Refusal(f"{where}: target_modules = {fields.target_modules!r} matches nothing in this model")
    return (
        AdaLoRA(
            target_modules=our_targets(model, paths),
            rank=min(fields.target_r, fields.init_r),
            initial_rank=fields.init_r,
            alpha=fields.lora_alpha,
            dropout=fields.lora_dropout,
            orthogonality=fields.orth_reg_weight,
            beta1=fields.beta1,
            beta2=fields.beta2,
            initial_share=fields.tinit / fields.total_step,
            final_share=fields.tfinal / fields.total_step,
            every=fields.deltaT,
        ),
    )


def _uncut(
    start: dict[str, Tensor], kept: Mapping[str, Sequence[bool]], tensors: Mapping[str, Tensor], where: str
) -> dict[str, Tensor]:
    """The file's tensors, each at the kept triplets of its module's start tensors."""
    places = {key: torch.arange(tensor.shape[AXES[key.rpartition(".")[2]]]) for key, tensor in start.items()}
    for name, mask in kept.items():
        for leaf in AXES:
            key = f"{PREFIX}{name.removesuffix('lora_E')}{leaf}"
            if key not in places or len(mask) != len(places[key]):
                raise Refusal(f"{where}: rank_pattern names {name} with {len(mask)} triplets, which this model lacks")
            places[key] = torch.tensor(mask).nonzero()[:, 0]
    axes = {key: AXES[key.rpartition(".")[2]] for key in start}
    check_tensors({key: tensor.index_select(axes[key], places[key]) for key, tensor in start.items()}, tensors, where)
    return {key: start[key].index_copy(axes[key], at, tensors[key].to(start[key])) for key, at in places.items()}
