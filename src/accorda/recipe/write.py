"""`recipe.yaml`: every value as used, one per line, with its origin behind it."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from accorda.recipe.layers import mapping
from accorda.recipe.reader import dotted, plain
from accorda.recipe.sections import Recipe
from accorda.recipe.stamp import stamped

BARE = re.compile(r"[A-Za-z_./][A-Za-z0-9_./-]*(?::[A-Za-z0-9_./-]+)*")
RESERVED = {"null", "true", "false", ".inf", ".nan"}
UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff\ufffe\uffff]")


def dump(recipe: Recipe) -> str:
    """The recipe as YAML; `load` of that text in a file gives an equal recipe with the same origins.

    Raises:
        ValueError: a function given from Python. Rows from Python are written whole; see `rows_in_files`.
    """
    return stamped("".join(_lines(mapping(recipe), recipe.origins, "", 0)))


def rows_in_files(recipe: Recipe, folder: str) -> tuple[Recipe, dict[str, str]]:
    """The recipe with rows given from Python named as files of `folder`, and the text of those files by name."""
    texts = {}
    for split in ("train", "eval"):
        rows = recipe.data.rows(split)
        if rows is not None:
            name, origin = f"{split}.jsonl", f"python: {len(rows)} rows, kept in this file"
            texts[name] = "".join(json.dumps(plain(row), ensure_ascii=False) + "\n" for row in rows)
            recipe = recipe.with_value(f"data.{split}", f"{folder}/{name}", origin)
    return recipe, texts


def _lines(values: Mapping[str, Any], origins: Mapping[str, str], at: str, depth: int) -> Iterator[str]:
    """One line per setting, sections as blocks, lists in flow style so that the origin fits behind."""
    for key, value in values.items():
        name, start = dotted(at, str(key)), f"{'  ' * depth}{flow(str(key))}:"
        if isinstance(value, Mapping) and value:
            yield f"{start}\n"
            yield from _lines(value, origins, name, depth + 1)
        else:
            yield f"{start} {flow(value)}  # {' '.join(origins.get(name, 'default').split())}\n"


def flow(value: object) -> str:
    """A value on one line; text bare where YAML reads it back as the same text."""
    if isinstance(value, str) and BARE.fullmatch(value) and value.lower() not in RESERVED and not _number(value):
        return value
    if isinstance(value, list | tuple):
        return "[" + ", ".join(flow(item) for item in value) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{flow(str(key))}: {flow(item)}" for key, item in value.items()) + "}"
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{value!r} cannot be written in a recipe file") from error
    return UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _number(text: str) -> bool:
    """Whether YAML would take the text for a number (`.5`, `.5e3`)."""
    try:
        float(text)
    except ValueError:
        return False
    return True
