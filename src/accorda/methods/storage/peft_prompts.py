"""What PEFT's formats of prompts share: one matrix, and fields that only describe the model."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from accorda.errors import Refusal
from accorda.methods.install import kept_tensors, own_tensors
from accorda.methods.storage.strict import check_tensors, shape

KEY = "prompt_embeddings"
HEAD_PREFIX = "base_model."
TWO = 2  # submodules that PEFT counts in an encoder-decoder
DESCRIBING = {"token_dim", "num_attention_heads", "num_layers"}


def fields(model: PreTrainedModel, num_virtual_tokens: int, width: int) -> dict[str, Any]:
    """The fields that every config of a prompt of vectors (P, width) has."""
    settings = model.config.get_text_config()
    return {
        "num_virtual_tokens": num_virtual_tokens,
        "token_dim": width,
        "num_transformer_submodules": 1,
        "num_attention_heads": settings.num_attention_heads,
        "num_layers": settings.num_hidden_layers,
    }


def encode(model: PreTrainedModel, name: str) -> dict[str, Tensor]:
    """The tensor of the file: one row for each virtual token."""
    (vectors,) = kept_tensors(model, name).values()
    return {KEY: vectors.detach()}


def decode(
    model: PreTrainedModel, name: str, config: Mapping[str, Any], tensors: Mapping[str, Tensor], where: str
) -> dict[str, Tensor]:
    """The matrix under our name. For two stacks PEFT holds twice as many rows and reads the first half, as we do."""
    if KEY in tensors and config.get("num_transformer_submodules") == TWO:
        tensors = {**tensors, KEY: tensors[KEY].chunk(TWO)[0]}
    check_tensors(encode(model, name), tensors, where)
    (own,) = own_tensors(model, name)
    return {own: tensors[KEY]}


def check_rows(tensors: Mapping[str, Tensor], num_virtual_tokens: int, where: str, times: int = 1) -> None:
    """Refuse a matrix that has not a row for each virtual token, `times` over."""
    if KEY in tensors and tensors[KEY].shape[:1] != (times * num_virtual_tokens,):
        told = f"num_virtual_tokens = {num_virtual_tokens}"
        raise Refusal(f"{where}: {KEY} has shape {shape(tensors[KEY])}, but {told}")
