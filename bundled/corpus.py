"""The text that the bundled model is pre-trained on: one document per line, drawn from a seed."""

import json
from collections.abc import Callable
from pathlib import Path
from random import Random

from bundled import tickets
from bundled.arithmetic import exercise
from bundled.instructions import Turn, about_text, about_words
from bundled.stories import story
from bundled.words import (
    ANIMALS,
    COLOURS,
    FEELINGS,
    FIRST_NAMES,
    FOODS,
    LAST_NAMES,
    PLACES,
    PRODUCTS,
    THINGS,
    full_name,
    pick,
    some,
)  # fmt: skip

SHARES = {
    "story": 0.13,
    "long story": 0.03,
    "ticket": 0.08,
    "thread": 0.06,
    "text": 0.44,
    "words": 0.12,
    "sums": 0.1,
    "echo": 0.1,
}

WORDS = sorted({*THINGS, *FOODS, *PLACES, *ANIMALS, *COLOURS, *FEELINGS, *FIRST_NAMES, *LAST_NAMES})
FEW = WORDS[::6]
ITEMS = (
    lambda rng: pick(rng, WORDS),
    full_name,
    lambda rng: str(rng.randrange(10**4)),
    lambda rng: pick(rng, PRODUCTS),
)


def chat(turns: list[Turn]) -> str:
    """A conversation in the words of the bundled chat template (ChatML)."""
    asked = (f"<|im_start|>user\n{ask}<|im_end|>\n<|im_start|>assistant\n{answer}<|im_end|>\n" for ask, answer in turns)
    return "".join(asked)


def echo(rng: Random) -> str:
    """Words, names and numbers in any order, said several times over: nothing but copying helps."""
    kind = rng.random()
    count = rng.randrange(3, 14) if rng.random() < 0.85 else rng.randrange(14, 40)
    if kind < 0.7:
        line = " ".join(some(rng, FEW if kind < 0.45 else WORDS, count))
    else:
        line = ", ".join(pick(rng, ITEMS)(rng) for _ in range(1 + count // 3))
    return "\n".join([line] * rng.randrange(3, 7))


def document(rng: Random) -> str:
    """One document. Short instructions and sums come several to a conversation."""
    kind = rng.choices(list(SHARES), list(SHARES.values()))[0]
    match kind:
        case "story":
            return story(rng).text
        case "long story":
            return story(rng, rng.randrange(2, 6)).text
        case "ticket":
            return tickets.ticket(rng, tickets.facts(rng))
        case "thread":
            return tickets.thread(rng, tickets.facts(rng))
        case "text":
            return chat(about_text(rng))
        case "words":
            return chat([about_words(rng) for _ in range(rng.randrange(1, 8))])
        case "echo":
            return echo(rng)
        case _:
            return chat([exercise(rng) for _ in range(rng.randrange(1, 6))])


def write(path: Path, seed: int, count: int, made: Callable[[Random], str] = document) -> None:
    """`count` documents as JSON lines {"text"}."""
    rng = Random(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for _ in range(count):
            file.write(json.dumps({"text": made(rng)}) + "\n")
