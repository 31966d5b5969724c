"""The methods there are: one file per method in the folders of the families; a file's name is its method's name."""

import dataclasses
import functools
import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any

from accorda.methods.contract import Method
from accorda.methods.outline import FAMILIES
from accorda.recipe.named import class_in, name_of, read_named


@functools.cache
def methods() -> Mapping[str, type[Method]]:
    """Every method by name, in the order of the families."""
    found = {}
    for family in FAMILIES:
        package = importlib.import_module(f"accorda.methods.{family}")
        for name in sorted(module.name for module in pkgutil.iter_modules(package.__path__)):
            found[name] = class_in(f"{package.__name__}.{name}", Method, "method")
    return found


def read(mapping: Mapping[str, Any], *, at: str = "method", origins: Mapping[str, str] | None = None) -> Method:
    """The method of a recipe's section: `name`, and the method's own fields.

    Raises:
        Refusal: no or unknown name, unknown field, value of a wrong type or out of range.
    """
    return read_named(mapping, methods(), "method", at=at, origins=origins)


def write(method: Method) -> dict[str, Any]:
    """The mapping from which `read` makes an equal method; lists and plain values only."""
    if not dataclasses.is_dataclass(method):
        raise TypeError(f"{type(method).__name__} is no dataclass")
    return {"name": name_of(method)} | {
        field.name: _plain(getattr(method, field.name)) for field in dataclasses.fields(method) if field.init
    }


def _plain(value: object) -> Any:
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
