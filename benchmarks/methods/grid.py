"""Which learning rates are tried: 1 and 3 times each power of ten, from a guess outwards to where the loss is least.

Every method goes by the same rule. Of a stage with long runs, `classify`, the short runs only say where those look.
"""

import math
from collections.abc import Mapping, Sequence

FEWEST_RATES, NUM_RATES, MOST_RATES = 3, 5, 7
GUESSES = {  # by stage and method; a method without one starts at `GUESS`
    "sft": {
        "lora": 1e-2,
        "rslora": 3e-3,
        "lora_plus": 3e-3,
        "dora": 1e-2,
        "pissa": 3e-3,
        "adalora": 3e-2,
        "vera": 1e-1,
        "krona": 1e-2,
        "full": 1e-3,
        "bitfit": 1e-2,
        "layernorm": 3e-2,
        "prompt_tuning": 1e-1,
        "prefix_tuning": 3e-3,
        "p_tuning": 3e-2,
        "attention_fusion": 1e-2,
        "houlsby": 3e-3,
        "pfeiffer": 3e-3,
        "parallel_adapter": 3e-3,
        "compacter": 1e-2,
        "compacter_plus": 1e-2,
        "krona_b": 3e-3,
        "krona_b_res": 3e-3,
        "ia3": 3e-2,
        "top_layers": 1e-3,
        "rows": 1e-2,
    },
    "classify": {
        "lora": 1e-3,
        "rslora": 1e-3,
        "lora_plus": 1e-3,
        "dora": 1e-3,
        "pissa": 1e-3,
        "adalora": 1e-2,
        "vera": 3e-2,
        "krona": 1e-2,
        "full": 1e-4,
        "bitfit": 3e-3,
        "layernorm": 1e-2,
        "prompt_tuning": 3e-2,
        "prefix_tuning": 1e-2,
        "p_tuning": 1e-2,
        "attention_fusion": 1e-2,
        "houlsby": 1e-3,
        "pfeiffer": 1e-3,
        "parallel_adapter": 3e-3,
        "compacter": 3e-3,
        "compacter_plus": 1e-2,
        "krona_b": 1e-2,
        "krona_b_res": 1e-2,
        "ia3": 1e-2,
        "top_layers": 1e-3,
        "rows": 3e-2,
    },
}
GUESS = 3e-3
NUM_LONG, MOST_LONG = 3, 5
"""Rates of the long runs: the best of the short runs and the places below it, since what short runs take can break down
in long ones."""
FIRST = ("full", "lora", "dora", "houlsby", "pfeiffer", "bitfit", "compacter", "ia3")
"""The methods that are measured before others, so that a stopped sweep has these."""


def step(rate: float, places: int) -> float:
    """The rate so many places further on the grid: half a power of ten each."""
    place = round(2 * math.log10(rate)) + places
    return float(f"{(1, 3)[place % 2]}e{place // 2}")


def next_rate(guess: float, losses: Mapping[float, float], wanted: int = NUM_RATES) -> float | None:
    """What to try after the rates that were tried; None when there is nothing more to learn.

    First the guess, a place below and a place above it; then outwards where the lowest loss lies at the edge, for at
    most seven rates; then the further side of the better neighbour, until there are as many as
    wanted.
    """
    for places in (0, -1, 1):
        if step(guess, places) not in losses:
            return step(guess, places)
    found = best(losses)
    if found == min(losses):
        return step(found, -1) if len(losses) < MOST_RATES else None
    if found == max(losses):
        return step(found, 1) if len(losses) < MOST_RATES else None
    if len(losses) >= wanted:
        return None
    below, above = losses[step(found, -1)], losses[step(found, 1)]
    return step(min(losses), -1) if below <= above else step(max(losses), 1)


def best(losses: Mapping[float, float]) -> float:
    """The rate of the lowest loss; the lower rate of two alike."""
    return min(sorted(losses), key=losses.__getitem__)


def candidates(losses: Mapping[float, float]) -> list[float]:
    """The rates of the long runs, from the losses of the short ones; the highest first."""
    return [step(best(losses), -places) for places in range(NUM_LONG)]


def followed(rates: Sequence[float], accuracies: Mapping[float, float]) -> list[float]:
    """The rates of the long runs and, while the best of them is at an edge, a place beyond it, MOST_LONG at most."""
    found = list(rates)
    while len(found) < MOST_LONG and set(found) <= set(accuracies):
        top = most_accurate({rate: accuracies[rate] for rate in found})
        if top not in (min(found), max(found)):
            break
        found.append(step(top, -1 if top == min(found) else 1))
    return found


def between(rate: float) -> float:
    """The middle between a rate and the place above it: the root of their product, to one digit."""
    return float(f"{math.sqrt(rate * step(rate, 1)):.0e}")


def most_accurate(accuracies: Mapping[float, float]) -> float:
    """The rate of the highest accuracy; the lower rate of two alike."""
    return max(sorted(accuracies), key=accuracies.__getitem__)


def at_edge(losses: Mapping[float, float]) -> bool:
    """Whether a lower loss may lie beyond the rates that were tried."""
    return best(losses) in (min(losses), max(losses))
