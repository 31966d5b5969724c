"""The words that the texts are made of, and how to draw them."""

from collections.abc import Sequence
from random import Random
from typing import TypeVar

T = TypeVar("T")

FIRST_NAMES = (
    "Ada Alma Amir Anna Anton Arno Aylin Bela Ben Bruno Carla Cem Clara Cora Dana David Dora Edda Eli Elif Emil Emma Enno Erik Eva Fatma "
    "Finn Flora Frida Greta Gustav Hana Hanna Hugo Ida Igor Ines Ira Ivan Jana Jonas Jo Jule Kai Karim Katja Kira Lars Lea Lena Leo "
    "Lina Lotte Luca Luis Mara Marek Marta Mats Maya Mila Milan Mina Mira Nadia Nele Nico Nils Nina Noah Nora Olga Omar Oskar Otto "
    "Paula Pavel Petra Pia Rafi Ravi Rita Rosa Ruth Sami Sara Selma Sofia Sven Tariq Tea Theo Tilda Tim Tom Uma Vera Viktor Wanda Yara Yusuf Zoe"
).split()
LAST_NAMES = (
    "Abel Adler Arndt Bach Baker Becker Berg Blum Bond Brandt Braun Brook Busch Carter Cole Cruz Dahl Diaz Dorn Eder Ellis Engel Ernst "
    "Falk Fink Fischer Frank Fuchs Garcia Geiger Graf Gross Haas Hahn Hall Hansen Hart Heller Hill Hoffman Horn Huber Jansen Jung Kaya "
    "Keller Kern Khan Klein Koch Kolb Kraus Kuhn Lang Larsen Lee Lenz Lind Lopez Lorenz Maier Marsh Martin Mayer Meier Moreno Moss Nagel "
    "Novak Olsen Otto Park Patel Pohl Price Quinn Rao Reed Reuter Rossi Roth Sato Schmidt Scholz Silva Simon Sommer Stark Stein Stone "
    "Thomas Vogel Voss Wagner Walter Weber Weiss Wolf Wood Young Zeller Ziegler"
).split()
CHILDREN = (
    "Ben Mia Tom Lily Max Anna Sam Lucy Tim Sue Jack Emma Leo Nina Kim Zoe Finn Ella Noah Ivy Paul Rosa Otto Mila Hugo Clara Amir Yara Omar Lina".split()
)
ANIMALS = (
    "cat dog bird frog rabbit bear fox mouse duck horse turtle owl hedgehog squirrel goat sheep pony bee snail deer".split()
)
COLOURS = "red blue green yellow white black brown grey purple pink orange golden silver".split()
THINGS = (
    "ball kite book hat drum boat lamp key box cup bell basket blanket coat scarf flute puzzle train robot doll bike shell stone map lantern "
    "spoon wagon jar ribbon umbrella"
).split()
FOODS = (
    "apple pear plum cherry cake bread soup cheese carrot potato melon berry cookie pie egg honey peach lemon pancake nut".split()
)
PLACES = (
    "park garden forest beach kitchen school farm river hill market library attic barn meadow village harbour bridge playground lake cave".split()
)
FEELINGS = "happy sad scared proud tired curious angry lonely brave calm surprised worried".split()
SIZES = "big small tiny huge little old new shiny soft round long warm".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
PRODUCTS = (
    "coffee grinder|desk lamp|rain jacket|office chair|phone case|travel mug|garden hose|hand mixer|yoga mat|bike helmet|wall clock|"
    "water kettle|bread knife|wool blanket|laptop stand|hair dryer|camping tent|table fan|bath towel|shoe rack|cutting board|rice cooker|"
    "baby monitor|picture frame|tool box|ski gloves|swim goggles|sleeping bag|pasta maker|floor mop|door bell|smoke alarm|running shoes|"
    "winter boots|leather wallet|sun hat|board game|chess set|paint set|sewing kit|dog bed|cat tree|fish tank|bird feeder|plant pot|"
    "memory card|keyboard|camera|radio|toaster|blender|mirror|backpack|suitcase|headset|printer|router|tripod|drill|ladder"
).split("|")


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
