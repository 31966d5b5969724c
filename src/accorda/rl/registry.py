"""The algorithms of stage rl: the files of this folder that define one; a file's name is its algorithm's name."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from accorda.recipe.named import class_in, from_papers, read_named
from accorda.rl.contract import Algorithm

FOLDER = Path(__file__).parent


@cache
def algorithms() -> dict[str, type[Algorithm]]:
    """Every algorithm's class by its file's name."""
    return {name: class_in(f"accorda.rl.{name}", Algorithm, "algorithm") for name in from_papers(FOLDER)}


def read(mapping: Mapping[str, Any], *, at: str = "algorithm", origins: Mapping[str, str] | None = None) -> Algorithm:
    """The algorithm of a recipe's section: `name`, and the algorithm's own fields.

    Raises:
        Refusal: no or unknown name, unknown field, value of a wrong type or out of range.
    """
    return read_named(mapping, algorithms(), "algorithm of rl", at=at, origins=origins)
