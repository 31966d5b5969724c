"""A recipe to start from: every setting with its default and a sentence about it."""

from collections.abc import Iterator, Mapping
from typing import Any

from accorda.recipe.explain import LATER, SAYS
from accorda.recipe.layers import mapping
from accorda.recipe.reader import dotted
from accorda.recipe.sections import Recipe
from accorda.recipe.write import flow

WIDTH = 44  # where comments begin


def commented(recipe: Recipe, title: str, says: Mapping[str, str]) -> str:
    """The recipe as YAML for people: what they have to fill in stands first in its section, all else is a default.

    `says` adds the sentences about the method's own settings.
    """
    return f"# {title}\n" + "".join(_lines(mapping(recipe), {**SAYS, **says}, "", 0))


def _lines(values: Mapping[str, Any], says: Mapping[str, str], at: str, depth: int) -> Iterator[str]:
    """Sections as blocks, one setting per line; mappings below a section in one line."""
    for key, value in values.items():
        name, start = dotted(at, str(key)), f"{'  ' * depth}{key}:"
        if name in LATER and not value and name not in says:
            continue
        if depth == 0 and isinstance(value, Mapping):
            yield f"\n{start}\n"
            yield from _lines(value, says, name, depth + 1)
        else:
            line = f"{start} {flow(value)}"
            yield f"{line:<{WIDTH}}  # {says[name]}\n" if name in says else f"{line}\n"
