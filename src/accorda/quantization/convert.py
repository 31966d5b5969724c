"""The formats there are, and a model's linears turned into one of them."""

import importlib
import pkgutil
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.pytorch_utils import Conv1D

from accorda.errors import Refusal
from accorda.quantization.contract import Format, QuantizedLinear, dense_weight
from accorda.recipe.number_formats import DENSE, require_format


@cache
def formats() -> dict[str, Format]:
    """Every number format by name: the `FORMAT` of each file in this folder."""
    modules = (
        importlib.import_module(f"{__package__}.{file.name}")
        for file in pkgutil.iter_modules([str(Path(__file__).parent)])
    )
    found = (getattr(module, "FORMAT", None) for module in modules)
    return {one.name: one for one in found if isinstance(one, Format)}


def number_format(name: str, *, double_quantization: bool = True) -> Format:
    """The format of a name. Raises Refusal for an unknown one, and where there are no scales to leave as they are."""
    require_format(name, others=(DENSE,))
    chosen = formats()[name]
    if double_quantization:
        return chosen
    if chosen.undoubled is None:
        raise Refusal(f"model.double_quantization = false: {name} has no scales to quantize twice; leave it out")
    return chosen.undoubled


def declared_format(said: Mapping[str, Any]) -> Format | None:
    """The format that a checkpoint's quantization_config says its weights lie in; None for one that is not here."""
    return next((one for one in _variants() if one.declared(said)), None)


def held_as(path: str, names: Collection[str]) -> tuple[Format, dict[str, str]] | None:
    """The format that a checkpoint's tensors hold a module's weight in, with their names; None for a dense one."""
    return next(((one, parts) for one in _variants() if (parts := one.parts(path, names))), None)


def _variants() -> list[Format]:
    """Every format, with double quantization and without."""
    return [one for each in formats().values() for one in (each, each.undoubled) if one is not None]


def quantize_model(model: nn.Module, chosen: str | Format) -> nn.Module:
    """Turn every linear inside a bare model's blocks into the format, in place; embeddings, norms and head stay dense.

    Raises Refusal for an unknown format, ValueError where a layer holds children (a method's adapters).
    """
    chosen = number_format(chosen) if isinstance(chosen, str) else chosen
    for name, module in block_linears(model):
        if len(module._modules):
            raise ValueError(f"{name} holds {', '.join(module._modules)}: quantize before installing methods")
        replace(model, name, chosen.linear(module))
    return model


def block_linears(model: nn.Module) -> list[tuple[str, nn.Linear | Conv1D]]:
    """The dense linears inside a model's blocks, by name: what a number format takes."""
    blocks = [name for name, module in model.named_modules() if isinstance(module, GradientCheckpointingLayer)]
    within = tuple(f"{block}." for block in blocks)
    return [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and name.startswith(within)
    ]


def replace(model: nn.Module, name: str, module: nn.Module) -> None:
    """Put a module into the place of another."""
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, module)


def dequantize_model(model: PreTrainedModel) -> PreTrainedModel:
    """Turn what is in a number format into plain layers of the same values and the model's dtype, in place."""
    for name, module in list(model.named_modules()):
        if isinstance(module, QuantizedLinear):
            replace(model, name, module.dense(model.dtype))
    return model


def format_of(model: nn.Module) -> Format | None:
    """The number format that linears of a model are in; None for a dense model."""
    held = next((module for module in model.modules() if isinstance(module, QuantizedLinear)), None)
    if held is None:
        return None
    return next(one for one in _variants() if one.layer is type(held) and one.declared(held.settings))


@torch.no_grad()
def errors_of(model: nn.Module, chosen: Format) -> dict[str, float]:
    """By name, how far each dense linear inside blocks would move in the format: |W - D(Q(W))| / |W|, Frobenius."""
    found = {}
    for name, module in block_linears(model):
        weight = dense_weight(module)[0].float()
        moved = chosen.quantize(weight).dequantize() - weight
        found[name] = float(moved.norm() / weight.norm().clamp(min=torch.finfo(torch.float32).tiny))
    return found
