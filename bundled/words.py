"""The words that the texts are made of, and how to draw them."""

from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import TypeVar

T = TypeVar("T")

FOLDER = Path(__file__).parent / "lists"


def read(name: str) -> list[str]:
    """The words of a list, one per line of its file."""
    return (FOLDER / f"{name}.txt").read_text(encoding="utf-8").splitlines()


FIRST_NAMES = read("first_names")
LAST_NAMES = read("last_names")
CHILDREN = read("children")
ANIMALS = read("animals")
COLOURS = read("colours")
THINGS = read("things")
FOODS = read("foods")
PLACES = read("places")
FEELINGS = read("feelings")
SIZES = read("sizes")
DAYS = read("days")
MONTHS = read("months")
PRODUCTS = read("products")


def pick(rng: Random, choices: Sequence[T]) -> T:
    """One of them."""
    return choices[rng.randrange(len(choices))]


def some(rng: Random, choices: Sequence[T], count: int) -> list[T]:
    """`count` different ones."""
    return rng.sample(choices, count)


def article(word: str) -> str:
    """The word with `a` or `an` in front."""
    return f"{'an' if word[0] in 'aeiouAEIOU' else 'a'} {word}"


def listed(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def full_name(rng: Random) -> str:
    """A first and a last name."""
    return f"{pick(rng, FIRST_NAMES)} {pick(rng, LAST_NAMES)}"


def plural(word: str) -> str:
    """More than one of it, for the words of this file."""
    if word.endswith(("s", "x", "ch", "sh")):
        return word + "es"
    if word.endswith("y") and word[-2] not in "aeiou":
        return word[:-1] + "ies"
    return {"mouse": "mice", "knife": "knives", "sheep": "sheep", "deer": "deer"}.get(word, word + "s")
