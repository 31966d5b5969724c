"""Sections of a recipe that name a file of a folder: the class it defines, its name, and reading the section."""

import importlib
import inspect
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from accorda.errors import Refusal
from accorda.recipe.reader import read as read_settings
from accorda.recipe.words import meant, shown

Section = TypeVar("Section")


def class_in(module_name: str, base: type[Section], kind: str) -> type[Section]:
    """The one class of the kind that a file defines itself; TypeError where it is not one."""
    module = importlib.import_module(module_name)
    found = [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, base) and value.__module__ == module_name
    ]
    if len(found) != 1:
        raise TypeError(f"{module_name} must define one {kind}, it defines {len(found)}")
    return found[0]


def defining(folder: Path, constant: str) -> list[str]:
    """The names of a folder's files that define the constant, read as text: running them would import torch."""
    return holding(folder, f"\n{constant} = ")


def holding(folder: Path, text: str) -> list[str]:
    """The names of a folder's files that hold a text."""
    return [file.stem for file in sorted(folder.glob("*.py")) if text in file.read_text(encoding="utf-8")]


def from_papers(folder: Path) -> dict[str, Path]:
    """The files of a folder whose class says which paper it is from, by name, read as text like `defining`."""
    files = sorted(folder.glob("*.py"))
    return {file.stem: file for file in files if "\n    paper: ClassVar[str] = " in file.read_text(encoding="utf-8")}


def require_known(
    name: object, known: Iterable[str], kind: str, *, at: str, origins: Mapping[str, str] | None = None
) -> str:
    """The name, where there is such a thing; else a `Refusal` that says which there are."""
    if not isinstance(name, str) or name not in known:
        origin = f" ({origins[f'{at}.name']})" if origins and f"{at}.name" in origins else ""
        near = meant(str(name), known) or f": choose one of {', '.join(known)}"
        raise Refusal(f"{at}.name = {shown(name)}{origin}: no such {kind}{near}")
    return name


def read_named(
    mapping: Mapping[str, Any],
    known: Mapping[str, type[Section]],
    kind: str,
    *,
    at: str,
    origins: Mapping[str, str] | None = None,
) -> Section:
    """What a section means: `name`, one of those known, and the own fields of its class.

    Raises:
        Refusal: no or unknown name, unknown field, value of a wrong type or out of range.
    """
    settings = dict(mapping)
    name = require_known(settings.pop("name", None), known, kind, at=at, origins=origins)
    return read_settings(known[name], settings, at=at, origins=origins)


def name_of(section: object) -> str:
    """The name of what a file defines, or of an instance of it: the file's."""
    return (section if isinstance(section, type) else type(section)).__module__.rpartition(".")[2]
