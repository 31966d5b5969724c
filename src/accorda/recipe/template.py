"""A recipe to start from: every setting with its default and a sentence about it."""

from collections.abc import Iterator, Mapping
from typing import Any

from accorda.recipe.explain import LATER, SAYS
from accorda.recipe.layers import mapping
from accorda.recipe.reader import dotted
from accorda.recipe.sections import Recipe
from accorda.recipe.write import flow

WIDTH = 44  # where comments begin


def commented(recipe: Recipe, title: str) -> str:
    """The recipe as YAML for people: what they have to fill in stands first in its section, all else is a default."""
    return f"# {title}\n" + "".join(_lines(mapping(recipe), "", 0))


def _lines(values: Mapping[str, Any], at: str, depth: int) -> Iterator[str]:
    """Sections as blocks, one setting per line; mappings below a section in one line."""
    for key, value in values.items():
        name, start = dotted(at, str(key)), f"{'  ' * depth}{key}:"
        if name in LATER:
            continue
        if depth == 0 and isinstance(value, Mapping):
            yield f"\n{start}\n"
            yield from _lines(value, name, depth + 1)
        else:
            line = f"{start} {flow(value)}"
            yield f"{line:<{WIDTH}}  # {SAYS[name]}\n" if name in SAYS else f"{line}\n"
