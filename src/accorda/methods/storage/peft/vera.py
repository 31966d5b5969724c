"""VeRA in PEFT's format: two vectors per module. The projections stay out of the file: the seed tells them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from accorda.errors import Refusal
from accorda.methods.contract import Method
from accorda.methods.reparametrized.vera import VeRA, VeRAAdapter
from accorda.methods.storage.peft_config import PREFIX, read_fields
from accorda.methods.storage.peft_parts import hosted, is_conv1d, is_whole
from accorda.methods.storage.peft_targets import Targets, our_targets, targeted, targets_for
from accorda.methods.storage.strict import check_tensors
from accorda.recipe.types import NonNegativeInt, PositiveInt, Share

PEFT_TYPE = "VERA"
PROJECTIONS = {"A": "base_model.vera_A", "B": "base_model.vera_B"}
UNUSED = {"fan_in_fan_out", "save_projection", "init_weights"}


@dataclass(frozen=True, kw_only=True)
class Fields(Targets):
    """The fields of a VeraConfig that decide what is computed."""

    r: PositiveInt = 256
    projection_prng_key: NonNegativeInt = 0
    vera_dropout: Share = 0.0
    d_initial: float = 0.1
    bias: str = "none"


def fits(methods: Sequence[Method], model: PreTrainedModel, name: str) -> bool:
    """VeRA alone, on whole modules: PEFT cuts its projections to the size of a whole module."""
    alone = len(methods) == 1 and isinstance(methods[0], VeRA)
    return alone and all(is_whole(parts) for _, _, parts in hosted(model, name, (VeRAAdapter,)))


def config(methods: Sequence[Method], model: PreTrainedModel, name: str) -> dict[str, Any]:
    """The fields of a VeraConfig."""
    (method,) = methods
    assert isinstance(method, VeRA)
    found = list(hosted(model, name, (VeRAAdapter,)))
    return {
        "r": method.rank,
        "projection_prng_key": method.seed,
        "save_projection": False,
        "vera_dropout": method.dropout,
        "d_initial": method.d_initial,
        "target_modules": targets_for(model, {path for path, _, _ in found}),
        "fan_in_fan_out": any(is_conv1d(module) for _, module, _ in found),
        "bias": "none",
    }


def encode(model: PreTrainedModel, name: str) -> dict[str, Tensor]:
    """The tensors of the file: per module vera_lambda_d (R,) and vera_lambda_b (O,)."""
    return {
        f"{PREFIX}{path}.vera_{leaf}": parameter.detach()
        for path, _, ((_, adapter, _),) in hosted(model, name, (VeRAAdapter,))
        for leaf, parameter in adapter.named_parameters()
    }


def decode(
    model: PreTrainedModel, name: str, config: Mapping[str, Any], tensors: Mapping[str, Tensor], where: str
) -> dict[str, Tensor]:
    """The vectors under our names; projections in the file must be those that the seed gives."""
    check_tensors(encode(model, name), {k: t for k, t in tensors.items() if k not in PROJECTIONS.values()}, where)
    own: dict[str, Tensor] = {}
    for path, _, ((key, adapter, _),) in hosted(model, name, (VeRAAdapter,)):
        if not own:
            _check_projections(adapter.projections.state(), tensors, where)
        own |= {f"{path}.{key}.{leaf}": tensors[f"{PREFIX}{path}.vera_{leaf}"] for leaf in ("lambda_d", "lambda_b")}
    return own


def methods(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], model: PreTrainedModel, where: str
) -> tuple[Method, ...]:
    """The VeRA that a file by PEFT describes."""
    fields = read_fields(Fields, config, UNUSED, where)
    if fields.bias != "none":
        raise Refusal(f"{where}: bias = {fields.bias}: accorda's VeRA trains no biases; merge the adapter with PEFT")
    paths = targeted(fields, model)
    if not paths:
        raise Refusal(f"{where}: target_modules = {fields.target_modules!r} matches nothing in this model")
    return (
        VeRA(
            target_modules=our_targets(model, paths),
            rank=fields.r,
            d_initial=fields.d_initial,
            dropout=fields.vera_dropout,
            seed=fields.projection_prng_key,
        ),
    )


def _check_projections(drawn: Mapping[str, Tensor], tensors: Mapping[str, Tensor], where: str) -> None:
    for leaf, key in PROJECTIONS.items():
        if key in tensors and not torch.equal(tensors[key].cpu(), drawn[leaf].cpu().to(tensors[key].dtype)):
            raise Refusal(
                f"{where}: {key} is not what projection_prng_key draws here, and accorda draws it again instead of "
                "loading it; merge the adapter into its base with PEFT (merge_and_unload) and open the merged model"
            )
