"""The learning rate as a pure function of the step, so that there is no state to lose at resume."""

import math
from dataclasses import dataclass
from typing import Literal

from accorda.errors import Refusal

MOST_WARMUP = 100
WARMUP_SHARE = 0.03


@dataclass(frozen=True)
class Schedule:
    """Linear warm-up to `peak`, then the named course down to zero at `num_steps`.

    With s = step counted from 0, w = `warmup_steps`, n = `num_steps` and p = (s - w) / (n - w):
    s < w: peak (s + 1) / w, so that no step is wasted at rate zero; after it constant: peak, linear: peak (1 - p),
    cosine: peak (1 + cos(pi p)) / 2.
    """

    name: Literal["constant", "linear", "cosine"]
    peak: float
    num_steps: int
    warmup_steps: int = 0

    def __post_init__(self) -> None:
        if self.warmup_steps > self.num_steps:
            raise Refusal(
                f"training.warmup_steps: {self.warmup_steps} is more than the {self.num_steps} steps of the run; "
                "give fewer, or leave it `auto`"
            )

    def __call__(self, step: int) -> float:
        """The rate of optimizer step `step`, counted from 0."""
        if step < self.warmup_steps:
            return self.peak * (step + 1) / self.warmup_steps
        part = (step - self.warmup_steps) / max(1, self.num_steps - self.warmup_steps)
        if self.name == "constant":
            return self.peak
        if self.name == "linear":
            return self.peak * max(0.0, 1 - part)
        return self.peak * (1 + math.cos(math.pi * min(1.0, part))) / 2


def auto_warmup(name: str, num_steps: int) -> int:
    """What `warmup_steps: auto` means: 3% of the run, at most 100 steps; none for a constant rate."""
    return 0 if name == "constant" else min(MOST_WARMUP, math.ceil(WARMUP_SHARE * num_steps))
