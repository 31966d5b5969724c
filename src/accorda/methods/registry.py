"""The methods there are: one file per method in the folders of the families; a file's name is its method's name."""

import dataclasses
import functools
import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from typing import Any

from accorda.errors import Refusal
from accorda.methods.contract import Method
from accorda.methods.outline import FAMILIES
from accorda.recipe.reader import read as read_settings
from accorda.recipe.words import meant, shown


@functools.cache
def methods() -> Mapping[str, type[Method]]:
    """Every method by name, in the order of the families."""
    found = {}
    for family in FAMILIES:
        package = importlib.import_module(f"accorda.methods.{family}")
        for name in sorted(module.name for module in pkgutil.iter_modules(package.__path__)):
            found[name] = _method_in(f"{package.__name__}.{name}")
    return found


def read(mapping: Mapping[str, Any], *, at: str = "method", origins: Mapping[str, str] | None = None) -> Method:
    """The method of a recipe's section: `name`, and the method's own fields.

    Raises:
        Refusal: no or unknown name, unknown field, value of a wrong type or out of range.
    """
    settings = dict(mapping)
    name = settings.pop("name", None)
    if not isinstance(name, str) or name not in methods():
        origin = f" ({origins[f'{at}.name']})" if origins and f"{at}.name" in origins else ""
        near = meant(str(name), methods()) or f": choose one of {', '.join(methods())}"
        raise Refusal(f"{at}.name = {shown(name)}{origin}: no such method{near}")
    return read_settings(methods()[name], settings, at=at, origins=origins)


def write(method: Method) -> dict[str, Any]:
    """The mapping from which `read` makes an equal method; lists and plain values only."""
    if not dataclasses.is_dataclass(method):
        raise TypeError(f"{type(method).__name__} is no dataclass")
    return {"name": name_of(method)} | {
        field.name: _plain(getattr(method, field.name)) for field in dataclasses.fields(method) if field.init
    }


def name_of(method: Method | type[Method]) -> str:
    """The method's name: the name of its file."""
    return (method if isinstance(method, type) else type(method)).__module__.rpartition(".")[2]


def _method_in(module_name: str) -> type[Method]:
    """The one public Method class that a file defines."""
    module = importlib.import_module(module_name)
    found = [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, Method) and value.__module__ == module_name
    ]
    if len(found) != 1:
        raise TypeError(f"{module_name} must define one method, it defines {len(found)}")
    return found[0]


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
