"""The algorithms of preference there are: the files of this folder; a file's name is its algorithm's name."""

import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from functools import cache
from typing import Any

from accorda.errors import Refusal
from accorda.objectives import preference as folder
from accorda.objectives.preference.contract import Algorithm
from accorda.recipe.reader import read as read_settings
from accorda.recipe.words import meant, shown


@cache
def algorithms() -> dict[str, type[Algorithm]]:
    """Every algorithm's class by its file's name."""
    found = {}
    for module_info in pkgutil.iter_modules(folder.__path__):
        if module_info.name not in ("contract", "registry"):
            found[module_info.name] = _algorithm_in(f"{folder.__name__}.{module_info.name}")
    return found


def read(mapping: Mapping[str, Any], *, at: str = "algorithm", origins: Mapping[str, str] | None = None) -> Algorithm:
    """The algorithm of a recipe's section: `name`, and the algorithm's own fields.

    Raises:
        Refusal: no or unknown name, unknown field, value of a wrong type or out of range.
    """
    settings = dict(mapping)
    name = settings.pop("name", None)
    if not isinstance(name, str) or name not in algorithms():
        origin = f" ({origins[f'{at}.name']})" if origins and f"{at}.name" in origins else ""
        near = meant(str(name), algorithms()) or f": choose one of {', '.join(algorithms())}"
        raise Refusal(f"{at}.name = {shown(name)}{origin}: no such algorithm of preference{near}")
    return read_settings(algorithms()[name], settings, at=at, origins=origins)


def name_of(algorithm: Algorithm | type[Algorithm]) -> str:
    """The algorithm's name: the name of its file."""
    return (algorithm if isinstance(algorithm, type) else type(algorithm)).__module__.rpartition(".")[2]


def _algorithm_in(module_name: str) -> type[Algorithm]:
    """The one Algorithm class that a file defines."""
    module = importlib.import_module(module_name)
    found = [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, Algorithm) and value.__module__ == module_name
    ]
    if len(found) != 1:
        raise TypeError(f"{module_name} must define one algorithm, it defines {len(found)}")
    return found[0]
