"""LN tuning in PEFT's format: the trained norms, each with all its parameters."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from accorda.errors import Refusal
from accorda.methods.contract import Method
from accorda.methods.install import own_tensors
from accorda.methods.selective.layernorm import LayerNorm
from accorda.methods.storage.peft_config import PREFIX, read_fields
from accorda.methods.storage.peft_targets import Targets, targeted, targets_for
from accorda.methods.storage.strict import check_tensors
from accorda.models.roles import sites

PEFT_TYPE = "LN_TUNING"
logger = logging.getLogger(__name__)


def fits(methods: Sequence[Method], model: PreTrainedModel, name: str) -> bool:
    """LayerNorm alone."""
    return len(methods) == 1 and isinstance(methods[0], LayerNorm)


def config(methods: Sequence[Method], model: PreTrainedModel, name: str) -> dict[str, Any]:
    """The fields of an LNTuningConfig."""
    return {"target_modules": targets_for(model, {path.rpartition(".")[0] for path in own_tensors(model, name)})}


def encode(model: PreTrainedModel, name: str) -> dict[str, Tensor]:
    """The tensors of the file."""
    return {_key(path): tensor.detach() for path, tensor in own_tensors(model, name).items()}


def decode(
    model: PreTrainedModel, name: str, config: Mapping[str, Any], tensors: Mapping[str, Tensor], where: str
) -> dict[str, Tensor]:
    """The values of the trained norms; a norm that the file's config leaves out keeps the base's."""
    own, mine = own_tensors(model, name), targeted(read_fields(Targets, config, (), where), model)
    named = {path: tensor for path, tensor in own.items() if path.rpartition(".")[0] in mine}
    check_tensors({_key(path): tensor for path, tensor in named.items()}, tensors, where)
    return {path: tensors[_key(path)] if path in named else tensor.detach() for path, tensor in own.items()}


def methods(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], model: PreTrainedModel, where: str
) -> tuple[Method, ...]:
    """LayerNorm, where the file's targets are norms."""
    targets = read_fields(Targets, config, (), where)
    norms, mine = {site.name for site in sites(model) if site.role.startswith("norm")}, targeted(targets, model)
    if not mine:
        raise Refusal(f"{where}: target_modules = {targets.target_modules!r} matches nothing in this model")
    if others := sorted(mine - norms):
        raise Refusal(f"{where}: target_modules names {others[0]}, which is no norm of this model")
    if left_out := sorted(norms - mine):
        logger.warning(
            "%s leaves %d norms as they are, from %s on; trained further, they train too",
            where,
            len(left_out),
            left_out[0],
        )
    return (LayerNorm(),)


def _key(path: str) -> str:
    module, _, leaf = path.rpartition(".")
    return f"{PREFIX}{module}.ln_tuning_layers.{leaf}"
