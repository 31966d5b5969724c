"""Short stories for children: a wish, something in the way, somebody who helps, and what was learned."""

import re
from dataclasses import dataclass
from random import Random

from bundled.words import (
    ANIMALS,
    CHILDREN,
    COLOURS,
    DAYS,
    FEELINGS,
    FOODS,
    PLACES,
    SIZES,
    THINGS,
    article,
    pick,
    plural,
    some,
)

OPENINGS = (
    "Once upon a time there was {hero_long}.",
    "One day, {hero} went to the {place}.",
    "There once lived {hero_long} near the {place}.",
    "On a sunny {day}, {hero} woke up early.",
    "It was {day}, and {hero} was very {feeling}.",
    "{hero} was {hero_kind} who lived by the {place}.",
)
HABITS = (
    "{hero} loved {foods} and liked to play with {their} {thing}.",
    "Every day {hero} played with {their} {colour} {thing}.",
    "{hero} had {a_thing} that was {colour} and {size}.",
    "More than anything, {hero} liked {foods}.",
    "{hero} and {friend} were best friends.",
)
WANTS = (
    "{hero} wanted to show {friend} the {thing}.",
    "{hero} wished to find {a_food} for {friend}.",
    "{hero} wanted to carry the {thing} to the {place2}.",
    "{hero} hoped to see the {place2} before dark.",
    "{hero} wanted to give the {thing} to {friend}.",
)
TROUBLES = (
    "But the {thing} was gone. {hero} looked under the bed and behind the door, but it was not there.",
    "But it began to rain, and the path to the {place2} was full of mud.",
    "But then the {thing} fell into the water with a splash.",
    "But {a_animal} sat on the path and would not move.",
    "But the {thing} broke, and {hero} began to cry.",
    "But {hero} lost the way and did not know where to go.",
    "But the {thing} was stuck high up in a tree.",
)
FEELS = (
    "{hero} felt {feeling}.",
    '"Oh no!" said {hero}. "What can I do now?"',
    "{hero} sat down and did not know what to do.",
    "{hero} was {feeling} and {feeling2}.",
)
HELPS = (
    '{friend} came by and saw {hero}. "Do not worry," said {friend}. "I will help you."',
    '{a_animal_cap} heard it and said, "I know what we can do."',
    '{friend} ran to {hero} and asked, "Why are you so {feeling}?" {hero} told {friend} what had happened.',
    'Then {friend} had an idea. "Let us do it together," {friend} said.',
)
SOLUTIONS = (
    "They looked everywhere, and at last they found what they needed near the {place}.",
    "Together they pulled and pulled until everything was fine again.",
    "They waited a little, sang a song, and soon the trouble was over.",
    "They worked side by side, and before long it was done.",
    "With a long stick and some luck they made it.",
)
ENDINGS = (
    '"Thank you!" said {hero}. From that day on, {hero} and {friend} did everything together.',
    "{hero} was so {good} that {they} gave {friend} {a_food}.",
    "{hero} learned that it is good to ask for help.",
    "They went home and ate {foods}. It was a good day.",
    "{hero} learned to be careful with the {thing}. The end.",
    "In the evening {hero} told the whole story at home and fell asleep with a smile.",
)
SENTENCE = re.compile(r"(?:^|(?<=[.?!] )|(?<=\n))[a-z]")
PRONOUNS = (("he", "his"), ("she", "her"), ("they", "their"))


@dataclass(frozen=True)
class Story:
    """A story's text and the answers it holds."""

    text: str
    hero: str
    friend: str
    place: str
    thing: str
    colour: str


def _slots(rng: Random) -> dict[str, str]:
    names = some(rng, CHILDREN, 2)
    animals = some(rng, ANIMALS, 3)
    hero_kind = (
        article(f"{pick(rng, SIZES)} {animals[0]}")
        if rng.random() < 0.4
        else f"a {pick(rng, ('boy', 'girl', 'child'))}"
    )
    friend = names[1] if rng.random() < 0.6 else f"the {animals[1]}"
    places, feelings, food, thing = some(rng, PLACES, 2), some(rng, FEELINGS, 2), pick(rng, FOODS), pick(rng, THINGS)
    they, their = pick(rng, PRONOUNS)
    return {
        "hero": names[0],
        "hero_kind": hero_kind,
        "hero_long": f"{hero_kind} named {names[0]}",
        "friend": friend,
        "place": places[0],
        "place2": places[1],
        "feeling": feelings[0],
        "feeling2": feelings[1],
        "good": pick(rng, ("happy", "glad", "proud")),
        "food": food,
        "foods": plural(food) if food not in ("bread", "soup", "cheese", "honey") else food,
        "a_food": article(food) if food not in ("bread", "soup", "cheese", "honey") else f"some {food}",
        "thing": thing,
        "a_thing": article(thing),
        "colour": pick(rng, COLOURS),
        "size": pick(rng, SIZES),
        "a_animal": article(animals[2]),
        "a_animal_cap": article(animals[2]).capitalize(),
        "day": pick(rng, DAYS),
        "they": they,
        "their": their,
    }


def story(rng: Random, episodes: int = 1) -> Story:
    """One story; each further episode has a trouble of its own with the same hero."""
    slots = _slots(rng)
    first = f"{slots['hero']} had {article(slots['colour'] + ' ' + slots['thing'])}."
    parts = [pick(rng, OPENINGS).format(**slots), first]
    if rng.random() < 0.7:
        parts.append(pick(rng, HABITS).format(**slots))
    for number in range(episodes):
        if number:
            parts.append(f"\nThe next {pick(rng, ('day', 'morning', 'week', 'evening'))}, something else happened.")
        chain = (WANTS, TROUBLES, FEELS, HELPS, SOLUTIONS)
        parts += [pick(rng, choices).format(**slots) for choices in chain if choices is not FEELS or rng.random() < 0.6]
    parts.append(pick(rng, ENDINGS).format(**slots))
    text = SENTENCE.sub(lambda found: found.group().upper(), " ".join(parts).replace(" \n", "\n\n"))
    return Story(text, slots["hero"], slots["friend"], slots["place"], slots["thing"], slots["colour"])
