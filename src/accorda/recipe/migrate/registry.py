"""Finds the tools, and the one that wrote a configuration."""

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from typing import Any

from accorda.errors import Refusal
from accorda.recipe.migrate import tools as folder
from accorda.recipe.migrate.rules import Tool
from accorda.recipe.words import meant

SECTIONS = ("model", "data", "method", "training")  # of a recipe; no tool has a mapping by such a name
STRANGERS = {  # files that lie beside such configurations and are none
    "a configuration of accelerate": {"distributed_type", "compute_environment"},
    "a configuration of DeepSpeed": {"zero_optimization"},
    "a file of PEFT": {"peft_type"},
    "a model's config.json": {"model_type", "architectures"},
}


@cache
def tools() -> dict[str, Tool]:
    """Every tool by the name of its file."""
    names = sorted(module.name for module in pkgutil.iter_modules(folder.__path__))
    return {name: importlib.import_module(f"{folder.__name__}.{name}").TOOL for name in names}


def choose(given: Mapping[str, Any], path: str, name: str | None) -> Tool:
    """The tool of that name, or the one whose signature the keys show.

    Raises:
        Refusal: no such tool; keys that show no tool, or more than one.
    """
    if any(isinstance(given.get(section), Mapping) for section in SECTIONS):
        raise Refusal(f"{path}: this is a recipe of accorda already; train by it with: accorda train {path}")
    if name is not None and name not in tools():
        near = meant(name, tools()) or f"; there are {', '.join(tools())}"
        raise Refusal(f"--from {name}: no such tool{near}")
    if name is not None:
        return tools()[name]
    marks = {name: sorted(tool.signature & set(given)) for name, tool in tools().items()}
    most = max(len(found) for found in marks.values())
    best = [name for name, found in marks.items() if len(found) == most]
    if most and len(best) == 1:
        return tools()[best[0]]
    raise Refusal(f"{path}: {_why(given, best if most else [])}")


def _why(given: Mapping[str, Any], best: list[str]) -> str:
    stranger = next((what for what, keys in STRANGERS.items() if keys <= set(given)), None)
    if stranger:
        return f"this is {stranger}; migrate reads configurations of {', '.join(tools())}"
    if best:
        return f"its keys fit {' and '.join(best)}; say which with --from {best[0]}"
    return (
        f"no tool has these keys ({', '.join(list(map(str, given))[:6])}); say which with --from {', '.join(tools())}"
    )
