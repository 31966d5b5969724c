"""Several methods as one adapter, in a recipe: `name: lora+prompt_tuning`, the settings of each under its own name."""

from collections.abc import Mapping, Sequence
from typing import Any

from accorda.errors import Refusal
from accorda.methods import registry
from accorda.methods.contract import Method, ParameterMethod
from accorda.recipe.words import meant, shown

JOIN = "+"


def parts(name: object) -> list[str]:
    """The names of the methods that a composition's name joins; of a single method its own."""
    return [part.strip() for part in name.split(JOIN)] if isinstance(name, str) else []


def read(
    mapping: Mapping[str, Any], *, at: str = "method", origins: Mapping[str, str] | None = None
) -> tuple[Method, ...]:
    """The method of a recipe's section, or several.

    Raises:
        Refusal: an unknown name, one that is there twice, settings that stand under none of the names, a base that
            is not kept, and whatever the methods refuse.
    """
    names = parts(mapping.get("name"))
    if len(names) < 2:
        return (registry.read(mapping, at=at, origins=origins),)
    for number, name in enumerate(names):
        if name not in registry.methods():
            near = meant(name, registry.methods()) or f": choose of {', '.join(registry.methods())}"
            raise Refusal(f"{at}.name = {shown(mapping['name'])}: {shown(name)}: no such method{near}")
        if name in names[:number]:
            raise Refusal(f"{at}.name = {shown(mapping['name'])}: {name} is there twice")
    for key, value in mapping.items():
        if key != "name" and (key not in names or not isinstance(value, Mapping)):
            raise Refusal(f"{at}.{key}: settings of several methods stand under their names: {at}.{names[0]}.{key}")
    methods = tuple(
        registry.read({"name": name, **mapping.get(name, {})}, at=f"{at}.{name}", origins=origins) for name in names
    )
    for name, method in zip(names, methods, strict=True):
        if isinstance(method, ParameterMethod) and not method.keeps_base:
            raise Refusal(
                f"{at}.{name}.keep_base = false: several methods together make an adapter, which is read back "
                "beside its base; leave it out"
            )
    return methods


def write(methods: Sequence[Method]) -> dict[str, Any]:
    """The mapping from which `read` makes the same."""
    if len(methods) == 1:
        return registry.write(methods[0])
    settings = [{key: value for key, value in registry.write(method).items() if key != "name"} for method in methods]
    return {"name": name_of(methods)} | {
        registry.name_of(method): values for method, values in zip(methods, settings, strict=True)
    }


def name_of(methods: Sequence[Method]) -> str:
    """The methods' names, joined."""
    return JOIN.join(registry.name_of(method) for method in methods)
