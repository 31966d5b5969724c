"""Sums with their steps, as questions and answers."""

from random import Random

from bundled.words import CHILDREN, THINGS, pick, plural, some

COUNTED = [
    *(plural(thing) for thing in THINGS),
    *(plural(food) for food in ("apple", "pear", "plum", "cherry", "cookie", "egg", "nut")),
]


def _add(rng: Random) -> tuple[str, str]:
    a, b = rng.randrange(2, 100), rng.randrange(2, 100)
    ones, tens = a % 10 + b % 10, a // 10 + b // 10
    carried = f", write {ones % 10} and carry 1" if ones > 9 else ""
    last = f"Tens: {a // 10} + {b // 10}{' + 1' if ones > 9 else ''} = {tens + (ones > 9)}."
    return f"What is {a} + {b}?", f"Ones: {a % 10} + {b % 10} = {ones}{carried}. {last} So {a} + {b} = {a + b}."


def _subtract(rng: Random) -> tuple[str, str]:
    b, rest = rng.randrange(2, 60), rng.randrange(2, 60)
    a = b + rest
    tens, ones = b // 10 * 10, b % 10
    steps = [f"{a} - {tens} = {a - tens}"] * (tens > 0) + [f"{a - tens} - {ones} = {rest}"] * (ones > 0)
    return f"What is {a} - {b}?", f"{'. '.join(steps)}. So {a} - {b} = {rest}."


def _multiply(rng: Random) -> tuple[str, str]:
    a, b = rng.randrange(2, 10), rng.randrange(2, 20)
    if b < 10:
        return f"What is {a} x {b}?", f"{a} x {b} = {a * b}."
    return (
        f"What is {a} x {b}?",
        f"{a} x 10 = {a * 10}. {a} x {b - 10} = {a * (b - 10)}. "
        f"{a * 10} + {a * (b - 10)} = {a * b}. So {a} x {b} = {a * b}.",
    )


def _more(rng: Random) -> tuple[str, str]:
    name, thing, a, b = pick(rng, CHILDREN), pick(rng, COUNTED), rng.randrange(2, 50), rng.randrange(2, 50)
    got = pick(rng, ("gets", "finds", "buys", "is given"))
    question = f"{name} has {a} {thing} and {got} {b} more. How many {thing} does {name} have now?"
    return question, f"{name} starts with {a} and {got} {b}. {a} + {b} = {a + b}. {name} has {a + b} {thing}."


def _fewer(rng: Random) -> tuple[str, str]:
    (name, other), thing, b, rest = (
        some(rng, CHILDREN, 2),
        pick(rng, COUNTED),
        rng.randrange(2, 40),
        rng.randrange(1, 50),
    )
    a = b + rest
    question = f"{name} has {a} {thing} and gives {b} to {other}. How many {thing} are left?"
    return question, f"{name} starts with {a} and gives away {b}. {a} - {b} = {rest}. {rest} {thing} are left."


def _each(rng: Random) -> tuple[str, str]:
    name, thing, a, b = pick(rng, CHILDREN), pick(rng, COUNTED), rng.randrange(2, 10), rng.randrange(2, 10)
    holder = pick(rng, ("boxes", "bags", "baskets", "jars"))
    question = f"{name} has {a} {holder} with {b} {thing} in each. How many {thing} are there?"
    return question, f"There are {a} {holder} with {b} each. {a} x {b} = {a * b}. There are {a * b} {thing}."


def _compare(rng: Random) -> tuple[str, str]:
    a, b = some(rng, range(1, 1000), 2)
    return f"Which number is bigger, {a} or {b}?", f"{max(a, b)} is bigger than {min(a, b)}."


def _follow(rng: Random) -> tuple[str, str]:
    start, step = rng.randrange(1, 30), rng.randrange(1, 11)
    numbers = [start + step * i for i in range(5)]
    shown = ", ".join(map(str, numbers[:4]))
    return (
        f"What comes next: {shown}?",
        f"Each number is {step} more than the one before. {numbers[3]} + {step} = {numbers[4]}.",
    )


KINDS = (_add, _subtract, _multiply, _more, _fewer, _each, _compare, _follow)


def exercise(rng: Random) -> tuple[str, str]:
    """A question and its answer with the steps."""
    return pick(rng, KINDS)(rng)
