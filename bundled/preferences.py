"""Pairs of ticket summaries with a preference that is known: the summary that states more of the six facts rightly.

Every pair is two summaries of one ticket that miss a different number of facts: a fact is missed where it is left open
(seen in the summary alone) or wrong (seen beside the ticket only), the one as often as the other. One label in ten is
turned round, so no model that has not seen the pair can agree with the labels much more often than in nine of ten.

And demonstrations to begin from, which are worse than what the pairs prefer: facts are left open in them.
"""

import json
from dataclasses import replace
from pathlib import Path
from random import Random

from accorda.evaluation.preferences.facts import NAMES
from bundled.tickets import PROBLEMS, SUMMARY, URGENCY, WISHES, Facts, facts, ticket
from bundled.words import PRODUCTS, full_name, pick

TRAIN, HELDOUT, NOISE, MOST_WRONG = 400, 100, 0.1, 4
DEMONSTRATIONS, LEFT_OPEN = 400, 1 / 3
OPEN = Facts("A customer", "an item", "unknown", "has a problem", "help", "unknown")
"""What stands in a summary in place of facts that it leaves open."""


def spoiled(rng: Random, about: Facts, number: int) -> Facts:
    """The same ticket with so many of its facts left open or wrong."""
    for name in rng.sample(NAMES, number):
        value = getattr(about, name)
        about = replace(about, **{name: getattr(OPEN, name) if rng.random() < 0.5 else _other(rng, name, value)})
    return about


def rows(seed: int, count: int) -> list[dict[str, str]]:
    """{"prompt", "chosen", "rejected"}, and "summary", the true one."""
    rng, made = Random(seed), list[dict[str, str]]()
    for _ in range(count):
        about = facts(rng)
        few, many = sorted(rng.sample(range(MOST_WRONG + 1), 2))
        better, worse = (" " + spoiled(rng, about, number).summary() for number in (few, many))
        if rng.random() < NOISE:
            better, worse = worse, better
        prompt = ticket(rng, about) + SUMMARY
        made.append({"prompt": prompt, "chosen": better, "rejected": worse, "summary": about.summary()})
    return made


def demonstrations(seed: int, count: int) -> list[dict[str, str]]:
    """{"prompt", "completion"}: summaries by somebody in a hurry: every third fact is left open, none is wrong."""
    rng, made = Random(seed), list[dict[str, str]]()
    for _ in range(count):
        about = facts(rng)
        prompt = ticket(rng, about) + SUMMARY
        hurried = replace(about, **{name: getattr(OPEN, name) for name in NAMES if rng.random() < LEFT_OPEN})
        made.append({"prompt": prompt, "completion": " " + hurried.summary()})
    return made


def write(folder: Path) -> None:
    """The bundled pairs and demonstrations: no held-out ticket stands among those to train on."""
    train, heldout = rows(300, TRAIN), rows(301, HELDOUT)
    assert not {row["prompt"] for row in train} & {row["prompt"] for row in heldout}
    hurried = demonstrations(302, DEMONSTRATIONS)
    assert not {row["prompt"] for row in hurried} & {row["prompt"] for row in heldout}
    for name, made in (("preferences", train), ("preferences-heldout", heldout), ("demonstrations", hurried)):
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in made)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")


def _other(rng: Random, name: str, value: str) -> str:
    """Another value of a fact."""
    while True:
        found = {
            "name": lambda: full_name(rng),
            "product": lambda: pick(rng, PRODUCTS),
            "order": lambda: str(rng.randrange(1000, 10000)),
            "problem": lambda: pick(rng, list(PROBLEMS)),
            "wish": lambda: pick(rng, list(WISHES)),
            "urgency": lambda: pick(rng, list(URGENCY)),
        }[name]()
        if found != value:
            return found
