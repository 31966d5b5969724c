"""Which learning rates are tried: 1 and 3 times each power of ten, from a guess outwards to where the loss is least."""

import math
from collections.abc import Mapping

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
PLACES_BELOW = {"sft": 0, "classify": 1}
"""How far below the best rate of a sweep the rate to use lies.

LoRA on MiniLM did best at 3e-3 in the 50 steps of a cell and answered one class only after 375 (0.499).
"""
FURTHER = {("classify", "houlsby"): 1}
"""Methods that broke down in the long run at that rate too, and how much further down they go."""
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


def chosen(stage: str, method: str, losses: Mapping[float, float]) -> float:
    """The rate to use: the best, or below it for runs longer than those that were compared."""
    return step(best(losses), -places_below(stage, method))


def places_below(stage: str, method: str) -> int:
    """How many places below its best rate a method is used."""
    return PLACES_BELOW[stage] + FURTHER.get((stage, method), 0)


def at_edge(losses: Mapping[float, float]) -> bool:
    """Whether a lower loss may lie beyond the rates that were tried."""
    return best(losses) in (min(losses), max(losses))


def flat(losses: Mapping[float, float]) -> bool:
    """Whether the rate made no difference: the highest loss within 1% of the lowest."""
    return max(losses.values()) <= 1.01 * min(losses.values())
