"""The text that the bundled model is pre-trained on: one document per line, drawn from a seed."""

import json
from pathlib import Path
from random import Random

from bundled import tickets
from bundled.arithmetic import exercise
from bundled.instructions import Turn, about_text, about_words
from bundled.stories import story
from bundled.words import pick

SHARES = {"story": 0.2, "long story": 0.04, "ticket": 0.12, "thread": 0.06, "text": 0.33, "words": 0.15, "sums": 0.1}


def chat(turns: list[Turn]) -> str:
    """A conversation in the words of the bundled chat template (ChatML)."""
    asked = (f"<|im_start|>user\n{ask}<|im_end|>\n<|im_start|>assistant\n{answer}<|im_end|>\n" for ask, answer in turns)
    return "".join(asked)


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
            return chat([about_text(rng) for _ in range(pick(rng, (1, 1, 1, 2, 3)))])
        case "words":
            return chat([about_words(rng) for _ in range(rng.randrange(1, 8))])
        case _:
            return chat([exercise(rng) for _ in range(rng.randrange(1, 6))])


def write(path: Path, seed: int, count: int) -> None:
    """`count` documents as JSON lines {"text"}."""
    rng = Random(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for _ in range(count):
            file.write(json.dumps({"text": document(rng)}) + "\n")
