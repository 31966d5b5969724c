"""Instructions with answers: about a text, about words, about simple facts; and small talk."""

from collections.abc import Callable
from random import Random

from bundled import tickets
from bundled.stories import story
from bundled.words import (
    ANIMALS,
    CHILDREN,
    COLOURS,
    DAYS,
    FIRST_NAMES,
    FOODS,
    MONTHS,
    PLACES,
    PRODUCTS,
    THINGS,
    full_name,
    listed,
    pick,
    plural,
    read,
    some,
)

Turn = tuple[str, str]
OPPOSITES = dict(pair.split(":") for pair in read("opposites"))
CAPITALS = dict(pair.split(":") for pair in read("capitals"))
GROUPS = {"animal": ANIMALS, "colour": COLOURS, "food": FOODS, "place": PLACES, "day": DAYS, "month": MONTHS}
SMALL_TALK = (
    (
        ("Hello!", "Hi!", "Hi there!", "Good morning!", "Hey!"),
        ("Hello! How can I help you?", "Hi! What can I do for you?"),
    ),
    (
        ("Who are you?", "What are you?", "What is your name?"),
        ("I am a small language model that comes with accorda.",),
    ),
    (("How are you?", "How are you today?"), ("I am fine, thank you. How can I help you?",)),
    (("Thank you!", "Thanks!", "Thanks a lot."), ("You are welcome!", "Gladly!")),
    (("Goodbye!", "Bye!", "See you!"), ("Goodbye!", "Bye! Come back soon.")),
    (
        ("What can you do?", "How can you help me?"),
        ("I can tell short stories, do small sums with their steps, and answer questions about a text.",),
    ),
    (
        ("Tell me a joke.", "Make me laugh."),
        ("Why did the bike fall over? It was two tired.", "What do you call a bear without teeth? A gummy bear."),
    ),
)


def _write_story(rng: Random) -> list[Turn]:
    made = story(rng)
    asked = (
        "Tell me a story about {hero}.",
        "Write a short story about {hero} and a {thing}.",
        "Tell me a story with a {colour} {thing} in it.",
        "Write a story about {hero} and {friend}.",
    )
    wish = pick(rng, asked).format(hero=made.hero, thing=made.thing, colour=made.colour, friend=made.friend)
    return [(wish, made.text)]


def _about_story(rng: Random) -> list[Turn]:
    made = story(rng)
    asked = [
        (f"What does {made.hero} have?", f"{made.hero} has a {made.colour} {made.thing}."),
        (f"What colour is the {made.thing}?", f"The {made.thing} is {made.colour}."),
        ("Who is the story about?", f"The story is about {made.hero}."),
    ]
    return _asked_about(rng, made.text, some(rng, asked, rng.randrange(1, 4)))


def _about_ticket(rng: Random) -> list[Turn]:
    about = tickets.facts(rng)
    text = tickets.thread(rng, about) if rng.random() < 0.3 else tickets.ticket(rng, about)
    first, last = about.name.split()
    urgency = {"high": "It is very urgent.", "normal": "It is not very urgent.", "low": "There is no hurry."}
    asked = [
        (("What is the order number?", "Which order is this about?"), about.order),
        (("Who wrote this?", "What is the name of the customer?"), about.name),
        (("What is the first name?", "How may we call the customer?"), first),
        (("What is the last name?", "What is the family name?"), last),
        (("Which product is this about?", "What was bought?"), f"The {about.product}."),
        (("Write down name and order number.", "Name and order, please."), f"{about.name}, {about.order}"),
        (("Write down product and order number.", "Product and order, please."), f"{about.product}, {about.order}"),
        (("What is the problem?", "What is wrong?"), f"The {about.product} {about.problem}."),
        (("What does the customer want?", "What should we do?"), f"The customer wants {about.wish}."),
        (("How urgent is it?", "Is it urgent?"), urgency[about.urgency]),
        (("Answer the customer.", "Write a reply."), _reply(rng, about)),
    ]
    chosen = some(rng, asked, rng.randrange(2, 8))
    return _asked_about(rng, text, [(pick(rng, questions), answer) for questions, answer in chosen])


def _asked_about(rng: Random, text: str, turns: list[Turn]) -> list[Turn]:
    """Questions about a text, which stands before or behind the first of them."""
    question, answer = turns[0]
    return [(f"{question}\n\n{text}" if rng.random() < 0.5 else f"{text}\n\n{question}", answer), *turns[1:]]


def _reply(rng: Random, about: tickets.Facts) -> str:
    first = about.name.split()[0]
    sorry = pick(
        rng, (f"we are sorry about your {about.product}.", f"thank you for writing about your {about.product}.")
    )
    done = f"We have looked at order {about.order} and will see to {about.wish} at once."
    return f"Dear {first},\n{sorry} {done}\nKind regards,\n{pick(rng, FIRST_NAMES)}"


def _words(rng: Random) -> list[str]:
    return some(rng, [*THINGS, *ANIMALS, *FOODS, *PLACES], rng.randrange(3, 7))


def _repeat(rng: Random) -> Turn:
    line = pick(
        rng,
        (
            " ".join(_words(rng)),
            full_name(rng),
            f"{full_name(rng)}, {pick(rng, PRODUCTS)}, {rng.randrange(1000, 10000)}",
            str(rng.randrange(10**5)),
        ),
    )
    return f"{pick(rng, ('Repeat', 'Copy', 'Say again'))}: {line}", line


def _reverse(rng: Random) -> Turn:
    words = _words(rng)
    return f"Turn the order around: {' '.join(words)}", " ".join(reversed(words))


def _sort(rng: Random) -> Turn:
    words = _words(rng)
    return f"Sort by the alphabet: {', '.join(words)}", ", ".join(sorted(words))


def _count(rng: Random) -> Turn:
    words = _words(rng)
    return f"How many words are there: {' '.join(words)}", f"There are {len(words)} words."


def _first_last(rng: Random) -> Turn:
    words, which = _words(rng), rng.randrange(2)
    return f"What is the {('first', 'last')[which]} word: {' '.join(words)}", words[-which]


def _opposite(rng: Random) -> Turn:
    word = pick(rng, list(OPPOSITES))
    other = OPPOSITES[word]
    word, other = (word, other) if rng.random() < 0.5 else (other, word)
    return f"What is the opposite of {word}?", f"The opposite of {word} is {other}."


def _capital(rng: Random) -> Turn:
    country = pick(rng, list(CAPITALS))
    if rng.random() < 0.3:
        return f"In which country is {CAPITALS[country]}?", f"{CAPITALS[country]} is in {country}."
    return f"What is the capital of {country}?", f"The capital of {country} is {CAPITALS[country]}."


def _name_some(rng: Random) -> Turn:
    kind, count = pick(rng, list(GROUPS)), rng.randrange(2, 6)
    return f"Name {count} {plural(kind)}.", listed(some(rng, GROUPS[kind], count)).capitalize() + "."


def _odd_one(rng: Random) -> Turn:
    kind, other = some(rng, list(GROUPS), 2)
    odd = pick(rng, GROUPS[other])
    words = [*some(rng, GROUPS[kind], 3), odd]
    rng.shuffle(words)
    return (
        f"Which word does not belong: {', '.join(words)}?",
        f"{odd} does not belong, because the others are {plural(kind)}.",
    )


def _which_kind(rng: Random) -> Turn:
    kind = pick(rng, list(GROUPS))
    word = pick(rng, GROUPS[kind])
    return (
        f"What is {word}: an animal, a colour, a food, a place, a day or a month?",
        f"{word} is {'an' if kind == 'animal' else 'a'} {kind}.",
    )


def _next_day(rng: Random) -> Turn:
    days = pick(rng, (DAYS, MONTHS))
    at, step = rng.randrange(len(days)), rng.choice((1, -1))
    return (
        f"What comes {'after' if step > 0 else 'before'} {days[at]}?",
        f"{days[(at + step) % len(days)]} comes {'after' if step > 0 else 'before'} {days[at]}.",
    )


def _sentence(rng: Random) -> Turn:
    thing, place, name = pick(rng, THINGS), pick(rng, PLACES), pick(rng, CHILDREN)
    made = (
        f"{name} took the {thing} to the {place}.",
        f"The {thing} was lying in the {place} when {name} came.",
        f"{name} looked for the {thing} near the {place}.",
    )
    return f"Make a sentence with these words: {name}, {thing}, {place}", pick(rng, made)


def _small_talk(rng: Random) -> Turn:
    questions, answers = pick(rng, SMALL_TALK)
    return pick(rng, questions), pick(rng, answers)


WORDS: tuple[Callable[[Random], Turn], ...] = (
    _repeat, _reverse, _sort, _count, _first_last, _opposite, _capital, _name_some, _odd_one, _which_kind, _next_day,
    _sentence, _small_talk,
)  # fmt: skip


def about_words(rng: Random) -> Turn:
    """A short instruction and its answer."""
    return pick(rng, WORDS)(rng)


def about_list(rng: Random) -> list[Turn]:
    """A list of names with numbers or products, and what to find in it; or the list once more."""
    count = rng.randrange(3, 9)
    names = some(rng, FIRST_NAMES, count)
    values = some(rng, PRODUCTS, count) if rng.random() < 0.4 else [str(rng.randrange(100, 10000)) for _ in names]
    table = "\n".join(f"{name}: {value}" for name, value in zip(names, values, strict=True))
    if rng.random() < 0.3:
        return [(f"Copy this list.\n\n{table}", table)]
    turns = []
    for at in some(rng, range(count), count - 1):
        asked = (f"What has {names[at]}?", values[at]) if rng.random() < 0.5 else (f"Who has {values[at]}?", names[at])
        turns.append(asked)
    return _asked_about(rng, table, turns)


def about_text(rng: Random) -> list[Turn]:
    """A conversation about a text that it brings along, or that it asks for."""
    return rng.choices((_about_ticket, about_list, _about_story, _write_story), (5, 3, 2, 1))[0](rng)
