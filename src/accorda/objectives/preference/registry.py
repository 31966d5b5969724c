"""The algorithms of preference there are: the files of this folder; a file's name is its algorithm's name."""

import pkgutil
from collections.abc import Mapping
from functools import cache
from typing import Any

from accorda.objectives import preference as folder
from accorda.objectives.preference.contract import Algorithm
from accorda.recipe.named import class_in, read_named


@cache
def algorithms() -> dict[str, type[Algorithm]]:
    """Every algorithm's class by its file's name."""
    found = {}
    for module_info in pkgutil.iter_modules(folder.__path__):
        if module_info.name not in ("contract", "registry"):
            found[module_info.name] = class_in(f"{folder.__name__}.{module_info.name}", Algorithm, "algorithm")
    return found


def read(mapping: Mapping[str, Any], *, at: str = "algorithm", origins: Mapping[str, str] | None = None) -> Algorithm:
    """The algorithm of a recipe's section: `name`, and the algorithm's own fields.

    Raises:
        Refusal: no or unknown name, unknown field, value of a wrong type or out of range.
    """
    return read_named(mapping, algorithms(), "algorithm of preference", at=at, origins=origins)
