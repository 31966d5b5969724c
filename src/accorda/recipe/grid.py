"""Lists where a setting takes one value: the settings that a sweep varies, and the recipe of each of its runs.

`data.limit=[125, 250]` is a sweep, `evaluation.metrics=[rouge, bleu]` a setting whose own type is a list;
`evaluation.metrics=[[rouge], [bleu]]` is a sweep again.
"""

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from accorda.errors import Refusal
from accorda.recipe.layers import copied, full_name, leaves, put
from accorda.recipe.reader import checked, hints, nested, origin_of, settings, value_of
from accorda.recipe.sections import PYTHON, Recipe
from accorda.recipe.words import shown
from accorda.recipe.write import flow

MOST_RUNS = 1000
UNSAFE = re.compile(r"[^A-Za-z0-9._+-]+")
TypesOf = Callable[[str, Mapping[str, Any]], list[Any]]
"""(setting inside a section that stays a mapping, all values) -> the types it has in the classes that may read it."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One setting that varies, and where its list came from."""

    name: str
    values: tuple[Any, ...]
    origin: str


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One run of a sweep: its folder's name, its values by setting, its recipe."""

    name: str
    values: dict[str, Any]
    recipe: Recipe


def axes(values: Mapping[str, Any], origins: Mapping[str, str], types_of: TypesOf) -> list[Axis]:
    """The settings that are given as lists and take one value; [] where nothing varies."""
    found = []
    for name, value in leaves(values):
        if (
            name != "output"
            and isinstance(value, list | tuple)
            and value
            and varies(name, list(value), values, types_of)
        ):
            items = tuple(value)
            origin = origin_of(name, origins) or PYTHON
            twice = next((item for at, item in enumerate(items) if item in items[:at]), None)
            if twice is not None:
                raise Refusal(f"{name} = {shown(list(items))} ({origin}): {shown(twice)} is there twice")
            found.append(Axis(name=name, values=items, origin=origin))
    return found


def varies(name: str, value: list[Any], values: Mapping[str, Any], types_of: TypesOf) -> bool:
    """Whether the setting does not take the list as it is, and a list is not what it takes, or its items are lists."""
    found = kinds(name, values, types_of)
    if not found or any(takes(value) for takes, _ in found):
        return False
    if any(a_list for _, a_list in found):
        return all(isinstance(item, list | tuple) and any(takes(item) for takes, _ in found) for item in value)
    return True


def kinds(name: str, values: Mapping[str, Any], types_of: TypesOf) -> list[tuple[Callable[[Any], bool], bool]]:
    """For each type the setting may have: whether it takes a value, and whether it is one of lists."""
    cls: Any = Recipe
    *sections, last = name.split(".")
    for part in sections:
        annotation = hints(cls).get(part)
        if not nested(annotation):  # a section that another class reads: method, optimizer
            return [(takes_of(kind), of_lists(kind)) for kind in types_of(name, values)]
        cls = annotation
    field = next((field for field in settings(cls) if field.name == last), None)
    if field is None:  # no such setting: reading the recipe says so
        return []
    annotation = hints(cls)[last]

    def takes(value: object) -> bool:
        return accepted(lambda: value_of(field, annotation, value, name, None, ()))

    return [(takes, "reader" in field.metadata or of_lists(annotation))]


def takes_of(kind: Any) -> Callable[[Any], bool]:
    """Whether a type takes a value."""
    return lambda value: accepted(lambda: checked(kind, value, "", None))


def accepted(read: Callable[[], object]) -> bool:
    """Whether reading goes without a refusal."""
    try:
        read()
    except Refusal:
        return False
    return True


def of_lists(annotation: Any) -> bool:
    """Whether the type is a list at some depth of its unions."""
    if annotation is Any or annotation in (list, tuple) or get_origin(annotation) in (list, tuple, Sequence):
        return True
    return get_origin(annotation) not in (dict, Mapping) and any(map(of_lists, get_args(annotation)))


def cells(values: Mapping[str, Any], origins: Mapping[str, str], found: Sequence[Axis], output: str) -> list[Cell]:
    """The recipe of every combination, the last axis varying fastest; each has a folder of its own in `output`.

    Raises:
        Refusal: a value that the setting does not take; too many runs.
    """
    number = 1
    for axis in found:
        number *= len(axis.values)
    if number > MOST_RUNS:
        raise Refusal(f"{' x '.join(axis.name for axis in found)}: {number:,} runs, at most {MOST_RUNS:,}")
    made: list[Cell] = []
    for chosen in itertools.product(*(axis.values for axis in found)):
        own, told = copied(values), dict(origins)
        named = {axis.name: item for axis, item in zip(found, chosen, strict=True)}
        name = unused(folder_name(named), [cell.name for cell in made])
        for axis, item in zip(found, chosen, strict=True):
            path = full_name(axis.name, item).split(".")
            put(own, told, path, item, f"{axis.origin}: one of {flow(list(axis.values))}")
        put(own, told, ["output"], f"{output}/{name}", "the sweep's folder")
        made.append(Cell(name=name, values=named, recipe=Recipe.build(own, told)))
    return made


def folder_name(values: Mapping[str, Any]) -> str:
    """`limit-125`, or `limit-125_seed-0` where several settings vary; whole names where the last parts are alike."""
    short = {name: name.rpartition(".")[2] for name in values}
    if len(set(short.values())) < len(short) or "name" in short.values():
        short = {name: name.removesuffix(".name").rpartition(".")[2] for name in values}
    if len(set(short.values())) < len(short):
        short = {name: name for name in values}
    return "_".join(f"{short[name]}-{safe(value)}" for name, value in values.items())


def safe(value: object) -> str:
    """A value as part of a folder's name."""
    if isinstance(value, list | tuple):
        return "+".join(map(safe, value))
    return UNSAFE.sub("-", str(value) if isinstance(value, str) else flow(value)).strip("-.")[-60:] or "empty"


def unused(name: str, names: Sequence[str]) -> str:
    """The name, with a number behind it where it is taken."""
    candidates = (name if number == 1 else f"{name}.{number}" for number in itertools.count(1))
    return next(candidate for candidate in candidates if candidate not in names)
