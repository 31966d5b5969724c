"""How many CPU threads to compute with. Tiny models are many times slower with two threads on a busy machine."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from time import perf_counter

import torch
from transformers import PreTrainedModel

from accorda.models.packed import num_parameters
from accorda.training.precision import SMALL_MODEL
from accorda.training.rng import undisturbed

REPEATS = 3
MOST_TIMED = 100_000_000  # parameters
TRIAL_TOKENS = 16
FEW_ROWS = 8
HOPELESS = 4.0  # times as slow as one thread: more trials would only cost a busy machine more
PROBE, WIDTH = 0.06, 128  # seconds of small products: longer than a core is taken away for, each waits for both threads
CROWDED = 2.0  # times as slow as one thread


@dataclass(frozen=True)
class Threads:
    """The number in use and, where it was measured, the seconds of one forward and backward by number of threads."""

    number: int
    seconds: dict[int, float] | None = None
    crowded: bool = False

    @property
    def reason(self) -> str:
        """Why this number, for the recipe's origin."""
        if self.crowded:
            return "auto: the other cores are busy"
        if self.seconds is None:
            return "auto: one is all there is"
        return "auto: " + ", ".join(f"{1e3 * took:.1f} ms with {number}" for number, took in self.seconds.items())


def choose_threads(trial: Callable[[], object], available: int | None = None) -> Threads:
    """Time `trial` (one forward and backward) with one thread and with all, and stay with the faster.

    The number decides the order of sums, so a run records it and `resume` uses the record. `trial` may draw random
    numbers; training draws what it would have drawn. `available` defaults to the threads torch has now.
    """
    available = available or torch.get_num_threads()
    if available == 1:
        torch.set_num_threads(1)
        return Threads(1)
    if crowded(available):
        torch.set_num_threads(1)
        return Threads(1, crowded=True)
    with undisturbed():
        one = _seconds(trial, 1)
        seconds = {1: one, available: _seconds(trial, available, hopeless=HOPELESS * one)}
    best = min(seconds, key=lambda number: (seconds[number], number))
    torch.set_num_threads(best)
    return Threads(best, seconds)


def crowded(available: int) -> bool:
    """Whether so many threads wait for each other: found in milliseconds, where a whole step would take seconds."""
    left = torch.ones(WIDTH, WIDTH)

    def products(seconds: float) -> int:
        began, done = perf_counter(), 0
        while perf_counter() - began < seconds:
            torch.mm(left, left)
            done += 1
        return done

    numbers = []
    for number in (1, available):
        torch.set_num_threads(number)
        products(PROBE / 10)  # wakes the threads
        numbers.append(products(PROBE))
    return CROWDED * numbers[1] < numbers[0]


def _seconds(trial: Callable[[], object], number: int, hopeless: float = inf) -> float:
    """The fastest of a few repeats, after one that warms up; a warm-up that is hopelessly slow is all there is."""
    torch.set_num_threads(number)
    began = perf_counter()
    trial()
    if (warm_up := perf_counter() - began) > hopeless:
        return warm_up
    took = []
    for _ in range(REPEATS):
        began = perf_counter()
        trial()
        took.append(perf_counter() - began)
    return min(took)


def settle_threads(model: PreTrainedModel, rows: int | None = None) -> None:
    """Compute with whatever number of threads is faster for this model: for those who only run it.

    A large model wants all of them, and timing it would cost more than it brings. To answer few `rows` (None: many) a
    small one takes one: its products are too small to share, and finding out takes longer than some answers.
    """
    if model.device.type != "cpu" or (size := num_parameters(model)) > MOST_TIMED:
        return
    if rows is not None and rows <= FEW_ROWS and size <= SMALL_MODEL:
        torch.set_num_threads(1)
        return
    ids = torch.ones(1, TRIAL_TOKENS, dtype=torch.int64)

    @torch.no_grad()
    def trial() -> object:
        return model(input_ids=ids, use_cache=False)

    choose_threads(trial)
