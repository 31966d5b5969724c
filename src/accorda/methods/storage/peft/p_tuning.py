"""P-tuning in PEFT's format: one matrix of vectors, what the encoder gave after training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor
from transformers import PreTrainedModel

from accorda.errors import Refusal
from accorda.methods.additive.p_tuning import PTuning
from accorda.methods.contract import Method
from accorda.methods.storage import peft_prompts
from accorda.methods.storage.peft_config import read_fields
from accorda.methods.storage.peft_prompts import HEAD_PREFIX, decode, encode
from accorda.models.configuration import is_decoder
from accorda.recipe.types import PositiveInt

__all__ = ["HEAD_PREFIX", "PEFT_TYPE", "config", "decode", "encode", "fits", "methods"]

PEFT_TYPE = "P_TUNING"
OF_THE_ENCODER = {"encoder_reparameterization_type", "encoder_hidden_size", "encoder_num_layers", "encoder_dropout"}
UNUSED = {*peft_prompts.DESCRIBING, *OF_THE_ENCODER}  # the encoder is not in the file


@dataclass(frozen=True, kw_only=True)
class Fields:
    """The fields of a PromptEncoderConfig that decide what is computed. Submodules: the stacks that get a prompt."""

    num_virtual_tokens: PositiveInt
    num_transformer_submodules: Literal[1] = 1


def fits(methods: Sequence[Method], model: PreTrainedModel, name: str) -> bool:
    """P-tuning of a decoder alone, its vectors in front: as for prompt tuning."""
    (first, *others) = methods
    return not others and isinstance(first, PTuning) and first.placement == "front" and is_decoder(model.config)


def config(methods: Sequence[Method], model: PreTrainedModel, name: str) -> dict[str, Any]:
    """The fields of a PromptEncoderConfig."""
    (vectors,) = encode(model, name).values()
    encoder = {"encoder_reparameterization_type": "MLP", "encoder_hidden_size": vectors.shape[1]}
    return peft_prompts.fields(model, *vectors.shape) | encoder


def methods(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], model: PreTrainedModel, where: str
) -> tuple[Method, ...]:
    """The vectors that a file by PEFT holds."""
    number = read_fields(Fields, config, UNUSED, where).num_virtual_tokens
    if not is_decoder(model.config):
        raise Refusal(
            f"{where}: PEFT's prompts take the place of the token that the head of this model reads: not loaded"
        )
    peft_prompts.check_rows(tensors, number, where)
    return (PTuning(num_virtual_tokens=number, encoder="none"),)
