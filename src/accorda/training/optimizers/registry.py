"""Optimizers by name: the files of this folder."""

import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any

from accorda.errors import Refusal
from accorda.recipe.reader import read as read_settings
from accorda.training import optimizers as folder
from accorda.training.optimizers.contract import Settings


@cache
def optimizers() -> dict[str, type[Settings]]:
    """Every optimizer's settings class by its file's name."""
    found = {}
    for module_info in pkgutil.iter_modules(folder.__path__):
        module = importlib.import_module(f"{folder.__name__}.{module_info.name}")
        for _, value in inspect.getmembers(module, inspect.isclass):
            if issubclass(value, Settings) and value.__module__ == module.__name__ and not inspect.isabstract(value):
                found[module_info.name] = value
    return found


def read(
    setting: Mapping[str, Any], *, at: str = "training.optimizer", origins: Mapping[str, str] | None = None
) -> Settings:
    """`{"name": "adamw", "beta2": 0.95}` as the settings it names; unknown names and keys are refused."""
    fields = dict(setting)
    name = fields.pop("name", "adamw")
    if not isinstance(name, str) or name not in optimizers():
        near = get_close_matches(str(name), optimizers(), 1)
        way_out = f"did you mean {near[0]}?" if near else f"there are: {', '.join(optimizers())}"
        raise Refusal(f"{at}.name: no optimizer {name!r}; {way_out}")
    return read_settings(optimizers()[name], fields, at=at, origins=origins)
