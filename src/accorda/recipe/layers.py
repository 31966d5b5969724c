"""Nested mappings of settings: put one setting in, walk them all, write short forms out."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from typing import Any

from accorda.recipe.reader import dotted, settings

HEADS = {  # a section given as one value means its first field: `method: lora`
    "model": "path",
    "data": "train",
    "method": "name",
    "algorithm": "name",
    "training.optimizer": "name",
}


def put(values: dict[str, Any], origins: dict[str, str], path: Sequence[str], value: object, origin: str) -> None:
    """Set one setting; mappings merge key by key, everything else is replaced with what was recorded about it."""
    *sections, key = path
    target = values
    for section in sections:
        if not isinstance(target.get(section), dict):
            target[section] = {}
        target = target[section]
    name = ".".join(path)
    if isinstance(value, Mapping) and value:
        for inner, item in value.items():
            put(values, origins, [*path, str(inner)], item, origin)
        return
    for stale in [known for known in origins if known.startswith((f"{name}.", f"{name}["))]:
        del origins[stale]
    target[key] = copied(value)
    origins[name] = origin


def leaves(values: Mapping[str, Any], at: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting with its dotted name; an empty mapping is a setting."""
    for key, value in values.items():
        name = dotted(at, str(key))
        if isinstance(value, Mapping) and value:
            yield from leaves(value, name)
        else:
            yield name, value


def expanded(given: Mapping[str, Any]) -> dict[str, Any]:
    """The mappings copied, with every short form written out (`method: lora` as `method: {name: lora}`)."""
    values = copied(given)
    for at in "", "training":
        section = values.get(at) if at else values
        for key in list(section) if isinstance(section, dict) else ():
            name = dotted(at, str(key))
            if full_name(name, section[key]) != name:
                section[key] = {HEADS[name]: section[key]}
    return values


def full_name(name: str, value: object) -> str:
    """`method` given as one value, or as several of a sweep, means `method.name`."""
    one_value = isinstance(value, str | PathLike) or (name == "data" and isinstance(value, Sequence))
    several = isinstance(value, list | tuple) and bool(value) and all(isinstance(item, str) for item in value)
    return f"{name}.{HEADS[name]}" if name in HEADS and (one_value or several) else name


def copied(value: object) -> Any:
    """Mappings copied at every depth; anything else, rows above all, as it is."""
    return {key: copied(item) for key, item in value.items()} if isinstance(value, Mapping) else value


def mapping(value: object) -> dict[str, Any]:
    """A dataclass as nested plain mappings and lists, as a recipe file would hold it; rows stay the list they are."""
    return {
        field.name: field.metadata.get("writer", as_plain)(getattr(value, field.name))
        for field in settings(type(value))
    }


def as_plain(value: object) -> Any:
    """Dataclasses as mappings and tuples as lists, at every depth."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return mapping(value)
    if isinstance(value, tuple):
        return [as_plain(item) for item in value]
    return {key: as_plain(item) for key, item in value.items()} if isinstance(value, Mapping) else value
