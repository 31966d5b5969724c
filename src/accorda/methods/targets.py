"""Which parameters of a model belong to the base."""

import re

from torch import nn
from transformers import PreTrainedModel

from accorda.models.heads import new_heads
from accorda.quantization.contract import QuantizedLinear

HUNG = re.compile(r"(^|\.)(adapters|originals)(\.|$)")  # the children that methods hang on a model


def is_ours(name: str) -> bool:
    """Whether a module's or parameter's name lies under something that a method hung on the model."""
    return HUNG.search(name) is not None


def base_parameters(model: PreTrainedModel) -> dict[str, nn.Parameter]:
    """The base's floating-point parameters, tied ones once; without new heads and numbers of a number format."""
    heads = {id(parameter) for head in new_heads(model).values() for parameter in head.parameters()}
    packed = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, QuantizedLinear)
        for leaf, parameter in module.named_parameters(recurse=False)
        if leaf != "bias"
    }
    return {
        name: parameter
        for name, parameter in model.named_parameters()
        if parameter.is_floating_point() and not is_ours(name) and id(parameter) not in heads | packed
    }


def num_head_parameters(model: PreTrainedModel) -> int:
    """Parameters of heads that the checkpoint did not bring."""
    return sum(parameter.numel() for head in new_heads(model).values() for parameter in head.parameters())
