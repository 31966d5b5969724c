"""Support tickets with one-line summaries: short ones, and threads of several messages.

A ticket is prose around six facts: who writes, which product, which order, what is wrong, what is wanted, how urgent it
is. The summary states the six in one line; what is wrong, wanted and urgent is told in many ways and summed up in one.
A thread also names facts of other orders, and corrects or changes some of its own on the way.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from bundled.words import DAYS, FIRST_NAMES, PRODUCTS, full_name, pick

PROBLEMS = {
    "arrived broken": (
        "the {product} was broken when I opened the box",
        "when I unpacked the {product}, one side was cracked",
        "the {product} came in pieces",
        "the parcel was dented and the {product} inside is smashed",
        "my {product} arrived with a big crack in it",
    ),
    "never arrived": (
        "the {product} has still not come",
        "I am still waiting for the {product}",
        "nothing has been delivered, and the {product} should have been here last week",
        "the {product} never reached me",
        "the driver says he left the {product} at my door, but there is nothing here",
    ),
    "stopped working": (
        "the {product} worked for two days and then gave up",
        "the {product} no longer does anything",
        "after a week of use the {product} went dead",
        "my {product} suddenly stopped",
        "since yesterday the {product} does not work any more",
    ),
    "is the wrong item": (
        "I ordered the {product} but found something else in the box",
        "instead of the {product} you sent me a different thing",
        "this is not the {product} I chose",
        "you must have mixed up the parcels, because my {product} was not in it",
        "what I got is not the {product} at all",
    ),
    "has a missing part": (
        "one part of the {product} is not in the box",
        "the {product} came without its screws",
        "I cannot use the {product} because a piece of it is missing",
        "the {product} is not complete",
        "there should be four parts to the {product}, and I count three",
    ),
    "was charged twice": (
        "my card was charged two times for the {product}",
        "I paid for the {product} once, but the money was taken twice",
        "there are two payments for the {product} on my account",
        "you billed me double for the {product}",
        "my bank shows the {product} twice",
    ),
    "is too small": (
        "the {product} is smaller than I thought",
        "the {product} does not fit, it is too tight",
        "the {product} is a size too small for us",
        "I need the {product} in a bigger size",
        "the {product} turned out to be tiny",
    ),
    "is very loud": (
        "the {product} makes a terrible noise",
        "the {product} rattles so much that nobody can sleep",
        "the {product} is so noisy that we cannot talk beside it",
        "I hear a loud hum from the {product} all day",
        "the noise of the {product} drives us mad",
    ),
}
WISHES = {
    "a refund": (
        "I want my money back.",
        "Please return what I paid.",
        "Kindly pay the amount back to my card.",
        "Could you refund me?",
        "I would like to be paid back in full.",
    ),
    "a replacement": (
        "Please send me a new one.",
        "I would like another one in its place.",
        "Can you swap it for one that is fine?",
        "Could I have a fresh one?",
        "Just send it again, please.",
    ),
    "a repair": (
        "Can somebody fix it?",
        "I would like to have it mended.",
        "Where can I send it to be repaired?",
        "Please put it right, I want to keep it.",
        "Could your workshop look at it?",
    ),
    "a discount": (
        "I will keep it if you lower the price.",
        "Can you take something off the price?",
        "A part of the price back would be fair.",
        "I think I should pay less for it.",
        "Could you give me some money off?",
    ),
    "a call": (
        "Please call me.",
        "I would like to talk to somebody on the phone.",
        "Can someone ring me about this?",
        "Give me a ring, please.",
        "Kindly phone me so that we can talk it over.",
    ),
}
URGENCY = {
    "high": (
        "It is urgent.",
        "I need an answer today.",
        "This cannot wait.",
        "I must have this settled by tomorrow.",
        "Please hurry, I have no time left.",
    ),
    "normal": (
        "An answer this week would be good.",
        "I hope to hear from you in a few days.",
        "Please answer when it is my turn.",
        "Let me know within the week.",
        "",
    ),
    "low": (
        "There is no hurry.",
        "Take your time.",
        "It can wait.",
        "Whenever you have a moment is fine.",
        "It is not pressing at all.",
    ),
}
GREETINGS = ("Hello,", "Hi,", "Dear team,", "Good morning,", "Good evening,", "Hello there,", "To whom it may concern,")
SMALL_TALK = (
    "I have been a customer for years.",
    "Your shop was recommended to me by a friend.",
    "It was meant as a present for my sister.",
    "I have already tried the help page.",
    "The weather has been awful here, by the way.",
    "I was really looking forward to it.",
    "My neighbour has the same one and is happy with it.",
    "I ordered it on {day}.",
    "I am writing from my phone.",
    "We moved last month.",
    "My {other} from you is still great.",
    "Until now I was always pleased.",
)
NUMBERS = (
    "My order number is {order}.",
    "This is about order {order}.",
    "The order is {order}.",
    "Order number: {order}.",
    "You find it under order {order}.",
)
CLOSINGS = ("Thank you,", "Thanks,", "Best wishes,", "Kind regards,", "Yours,", "Best,")
ANSWERS = (
    "Thank you for writing. We are sorry to hear that. Could you tell us more?",
    "We are sorry about this. May I ask for some details?",
    "Thanks for your message. We will look into it.",
    "I understand. Is there anything else I should know?",
    "Sorry for the trouble. I have passed it on to our team.",
)
TRAIN, HELDOUT = 800, 200
SUMMARY = "\n\nSummary:"


@dataclass(frozen=True)
class Facts:
    """What a ticket says."""

    name: str
    product: str
    order: str
    problem: str
    wish: str
    urgency: str

    def summary(self) -> str:
        """The six facts in one line."""
        who = f"{self.name}: {self.product} (order {self.order}) {self.problem}"
        return f"{who}; wants {self.wish}. Urgency: {self.urgency}."


def facts(rng: Random) -> Facts:
    """Any six facts; every combination is as likely as any other."""
    return Facts(
        full_name(rng),
        pick(rng, PRODUCTS),
        str(rng.randrange(1000, 10000)),
        pick(rng, list(PROBLEMS)),
        pick(rng, list(WISHES)),
        pick(rng, list(URGENCY)),
    )


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _told(rng: Random, about: Facts) -> str:
    return _sentence(pick(rng, PROBLEMS[about.problem]).format(product=about.product)) + "."


def _number(rng: Random, about: Facts) -> str:
    return pick(rng, NUMBERS).format(order=about.order)


def _talk(rng: Random, about: Facts) -> str:
    other = pick(rng, [product for product in PRODUCTS if product != about.product])
    return pick(rng, SMALL_TALK).format(day=pick(rng, DAYS), other=other)


def ticket(rng: Random, about: Facts) -> str:
    """One message that tells the facts: greeting, body in one of several orders, closing, name."""
    told, number = _told(rng, about), _number(rng, about)
    body = [told, number] if rng.random() < 0.5 else [number, told]
    for _ in range(rng.choice((0, 1, 1, 2))):
        body.insert(rng.randrange(len(body) + 1), _talk(rng, about))
    body.append(pick(rng, WISHES[about.wish]))
    urgency = pick(rng, URGENCY[about.urgency])
    body.insert(rng.choice((len(body), len(body), 0)), urgency)
    text = " ".join(part for part in body if part)
    return f"{pick(rng, GREETINGS)}\n{text}\n{pick(rng, CLOSINGS)}\n{about.name}"


def thread(rng: Random, about: Facts) -> str:
    """A conversation of four to eight messages between the customer and the shop that ends with the facts.

    What is wanted and how urgent it is may change on the way: the last word counts. An earlier order is named too.
    """
    agent = pick(rng, FIRST_NAMES)
    before = replace(about, wish=pick(rng, list(WISHES)), urgency=pick(rng, list(URGENCY)))
    opening = [_told(rng, about), pick(rng, WISHES[before.wish]), pick(rng, URGENCY[before.urgency])]
    earlier = pick(rng, [product for product in PRODUCTS if product != about.product])
    messages = [(about.name, " ".join(part for part in [pick(rng, GREETINGS), *opening] if part))]
    steps = [
        f"Last year I also bought the {earlier} from you, that was order {rng.randrange(1000, 10000)}, "
        "but this is not about it.",
        _number(rng, about),
        *(_talk(rng, about) for _ in range(rng.randrange(3))),
    ]
    rng.shuffle(steps)
    for step in steps:
        messages += [(f"{agent} (support)", pick(rng, ANSWERS)), (about.name, step)]
    last = pick(
        rng, ("I have thought about it again.", "One more thing.", "To make it short:", "Now that I think of it:")
    )
    final = [last, pick(rng, WISHES[about.wish]), pick(rng, [text for text in URGENCY[about.urgency] if text] or [""])]
    messages += [(f"{agent} (support)", "What would you like us to do now?"), (about.name, " ".join(final))]
    return "\n\n".join(f"{who}:\n{text}" for who, text in messages)


def rows(seed: int, count: int, long: bool = False) -> list[dict[str, str]]:
    """Rows of a single-task data set: {"prompt": ticket, "completion": summary}."""
    rng = Random(seed)
    made = []
    for _ in range(count):
        about = facts(rng)
        text = thread(rng, about) if long else ticket(rng, about)
        made.append({"prompt": text + SUMMARY, "completion": " " + about.summary()})
    return made


def write(folder: Path) -> None:
    """The bundled data sets: no held-out row stands among the training rows."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, long, seed in (("tickets", False, 100), ("long-tickets", True, 200)):
        train, heldout = rows(seed, TRAIN, long), rows(seed + 1, HELDOUT, long)
        assert not {row["prompt"] for row in train} & {row["prompt"] for row in heldout}
        for split, made in (("", train), ("-heldout", heldout)):
            text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in made)
            (folder / f"{name}{split}.jsonl").write_text(text, encoding="utf-8")
