"""Prompt tuning in PEFT's format: one matrix of vectors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor
from transformers import PreTrainedModel

from accorda.errors import Refusal
from accorda.methods.additive.prompt_tuning import PromptTuning
from accorda.methods.contract import Method
from accorda.methods.storage import peft_prompts
from accorda.methods.storage.peft_config import read_fields
from accorda.methods.storage.peft_prompts import HEAD_PREFIX, decode, encode
from accorda.models.configuration import is_decoder, is_encoder_decoder
from accorda.recipe.types import PositiveInt

__all__ = ["HEAD_PREFIX", "PEFT_TYPE", "config", "decode", "encode", "fits", "methods"]

PEFT_TYPE = "PROMPT_TUNING"
UNUSED = {*peft_prompts.DESCRIBING, "prompt_tuning_init", "prompt_tuning_init_text"}
UNUSED |= {"tokenizer_name_or_path", "tokenizer_kwargs"}


@dataclass(frozen=True, kw_only=True)
class Fields:
    """The fields of a PromptTuningConfig that decide what is computed. Submodules: the stacks that get a prompt."""

    num_virtual_tokens: PositiveInt
    num_transformer_submodules: Literal[1, 2] = 1


def fits(methods: Sequence[Method], model: PreTrainedModel, name: str) -> bool:
    """Prompt tuning of a model that writes, its vectors in front of what it reads.

    In front of an encoder alone, PEFT's prompt takes the place of the first token, which the encoder's head reads.
    """
    (first, *others) = methods
    return not others and isinstance(first, PromptTuning) and first.placement == "front" and _writes(model)


def _writes(model: PreTrainedModel) -> bool:
    return is_decoder(model.config) or is_encoder_decoder(model.config)


def config(methods: Sequence[Method], model: PreTrainedModel, name: str) -> dict[str, Any]:
    """The fields of a PromptTuningConfig."""
    (vectors,) = encode(model, name).values()
    return peft_prompts.fields(model, *vectors.shape) | {"prompt_tuning_init": "RANDOM"}


def methods(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], model: PreTrainedModel, where: str
) -> tuple[Method, ...]:
    """The prompt tuning that a file by PEFT describes."""
    fields = read_fields(Fields, config, UNUSED, where)
    if not _writes(model):
        raise Refusal(
            f"{where}: PEFT's prompts take the place of the token that the head of this model reads: not loaded"
        )
    number, times = fields.num_virtual_tokens, fields.num_transformer_submodules
    if times > 1 and not is_encoder_decoder(model.config):
        raise Refusal(f"{where}: num_transformer_submodules = {times}, but this model has one stack")
    peft_prompts.check_rows(tensors, number, where, times)
    return (PromptTuning(num_virtual_tokens=number, init="random"),)
