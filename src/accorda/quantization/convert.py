"""The formats there are, and a model's linears turned into one of them."""

import importlib
import pkgutil
from functools import cache
from pathlib import Path

from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.pytorch_utils import Conv1D

from accorda.errors import Refusal
from accorda.quantization.contract import Format


@cache
def formats() -> dict[str, Format]:
    """Every number format by name: the `FORMAT` of each file in this folder."""
    modules = (
        importlib.import_module(f"{__package__}.{file.name}")
        for file in pkgutil.iter_modules([str(Path(__file__).parent)])
    )
    found = (getattr(module, "FORMAT", None) for module in modules)
    return {one.name: one for one in found if isinstance(one, Format)}


def quantize_model(model: nn.Module, format_name: str) -> nn.Module:
    """Turn every linear inside a bare model's blocks into the format, in place; embeddings, norms and head stay dense.

    Raises Refusal for an unknown format, ValueError where a layer holds children (a method's adapters).
    """
    if format_name not in formats():
        raise Refusal(
            f"model.quantization: {format_name!r} is not a number format; there are none, {', '.join(formats())}"
        )
    chosen = formats()[format_name]
    for block in [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]:
        for name, module in list(block.named_modules()):
            if isinstance(module, nn.Linear | Conv1D):
                if len(module._modules):
                    raise ValueError(f"{name} holds {', '.join(module._modules)}: quantize before installing methods")
                parent, _, child = name.rpartition(".")
                setattr(block.get_submodule(parent), child, chosen.linear(module))
    return model
