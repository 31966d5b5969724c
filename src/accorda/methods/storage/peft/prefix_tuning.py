"""Prefix-tuning in PEFT's format: one matrix, in each row key and value of the first layer, then of the next."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from accorda.errors import Refusal
from accorda.methods.additive.prefix_tuning import PrefixTuning
from accorda.methods.contract import Method
from accorda.methods.storage import peft_prompts
from accorda.methods.storage.peft_config import read_fields
from accorda.methods.storage.peft_prompts import HEAD_PREFIX, decode, encode
from accorda.models.configuration import is_decoder
from accorda.models.roles import attentions
from accorda.recipe.types import PositiveInt

__all__ = ["HEAD_PREFIX", "PEFT_TYPE", "config", "decode", "encode", "fits", "methods"]

PEFT_TYPE = "PREFIX_TUNING"
CLASSIFIER = "ForSequenceClassification"  # the only encoders of which PEFT knows where the prefix goes
UNUSED = {"prefix_projection", "encoder_hidden_size", "init_weights"}  # a projection is applied before saving


@dataclass(frozen=True, kw_only=True)
class Fields:
    """The fields of a PrefixTuningConfig that decide what is computed; heads are those of keys and values."""

    num_virtual_tokens: PositiveInt
    token_dim: PositiveInt | None = None
    num_attention_heads: PositiveInt | None = None
    num_layers: PositiveInt | None = None
    num_transformer_submodules: Literal[1] = 1


def fits(methods: Sequence[Method], model: PreTrainedModel, name: str) -> bool:
    """Prefix-tuning alone, on a model where PEFT computes the same."""
    (first, *others) = methods
    return not others and isinstance(first, PrefixTuning) and why_not(model) is None


def why_not(model: PreTrainedModel) -> str | None:
    """Why PEFT's prefix, which it puts into the cache, is not the same on this model; None where it is."""
    label = type(model).__name__
    if model.config.is_encoder_decoder or not (is_decoder(model.config) or label.endswith(CLASSIFIER)):
        return f"PEFT gives {label} none, or others than here"
    if any(getattr(layer, "sliding_window", None) for layer in DynamicCache(config=model.config).layers):
        return "this model's windows of attention hide PEFT's from late tokens"
    if len({(place.num_key_value_heads, place.head_dim) for place in attentions(model)}) > 1:
        return "the layers of this model differ in their heads"
    return None


def config(methods: Sequence[Method], model: PreTrainedModel, name: str) -> dict[str, Any]:
    """The fields of a PrefixTuningConfig."""
    (table,) = encode(model, name).values()
    return {"num_virtual_tokens": len(table), "num_transformer_submodules": 1, "prefix_projection": False} | _of(model)


def methods(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], model: PreTrainedModel, where: str
) -> tuple[Method, ...]:
    """The keys and values that a file by PEFT holds."""
    fields = read_fields(Fields, config, UNUSED, where)
    if (reason := why_not(model)) is not None:
        raise Refusal(f"{where}: prefixes of PEFT are not loaded: {reason}")
    for field, wanted in _of(model).items():
        if getattr(fields, field) not in (None, wanted):
            raise Refusal(f"{where}: {field} = {getattr(fields, field)}, this model needs {wanted}")
    peft_prompts.check_rows(tensors, fields.num_virtual_tokens, where)
    return (PrefixTuning(num_virtual_tokens=fields.num_virtual_tokens, reparametrized=False),)


def _of(model: PreTrainedModel) -> dict[str, int]:
    """What PEFT wants to know of a model's keys and values."""
    places = attentions(model)
    heads, width = places[0].num_key_value_heads, places[0].head_dim
    return {"token_dim": heads * width, "num_attention_heads": heads, "num_layers": len(places)}
