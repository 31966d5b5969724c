"""Prompt tuning in PEFT's format: one matrix of vectors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor
from transformers import PreTrainedModel

from accorda.errors import Refusal
from accorda.methods.additive.prompt_tuning import PromptTuning
from accorda.methods.contract import Method
from accorda.methods.install import own_tensors
from accorda.methods.storage.peft_config import read_fields
from accorda.methods.storage.strict import check_tensors, shape
from accorda.models.load import is_decoder, is_encoder_decoder
from accorda.recipe.types import PositiveInt

PEFT_TYPE = "PROMPT_TUNING"
HEAD_PREFIX = "base_model."
KEY = "prompt_embeddings"
TWO = 2  # submodules that PEFT counts in an encoder-decoder
UNUSED = {"token_dim", "num_attention_heads", "num_layers", "prompt_tuning_init", "prompt_tuning_init_text"}
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
    settings = model.config.get_text_config()
    return {
        "num_virtual_tokens": vectors.shape[0],
        "token_dim": vectors.shape[1],
        "num_transformer_submodules": 1,
        "num_attention_heads": settings.num_attention_heads,
        "num_layers": settings.num_hidden_layers,
        "prompt_tuning_init": "RANDOM",
    }


def encode(model: PreTrainedModel, name: str) -> dict[str, Tensor]:
    """The tensor of the file, (P, D)."""
    (vectors,) = own_tensors(model, name).values()
    return {KEY: vectors.detach()}


def decode(
    model: PreTrainedModel, name: str, config: Mapping[str, Any], tensors: Mapping[str, Tensor], where: str
) -> dict[str, Tensor]:
    """The vectors under our name. For two stacks PEFT holds twice as many and reads the first half, as we do."""
    (own,) = own_tensors(model, name)
    if KEY in tensors and config.get("num_transformer_submodules") == TWO:
        tensors = {**tensors, KEY: tensors[KEY].chunk(TWO)[0]}
    check_tensors(encode(model, name), tensors, where)
    return {own: tensors[KEY]}


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
    if KEY in tensors and tensors[KEY].shape[:1] != (times * number,):
        raise Refusal(f"{where}: {KEY} has shape {shape(tensors[KEY])}, but num_virtual_tokens = {number}")
    return (PromptTuning(num_virtual_tokens=number, init="random"),)
