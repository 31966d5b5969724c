"""How near the algorithms of stage rl come to an optimum that is known.

Five seeds of each case of tests/rl/enumerable.py: the gap is what is left of the way from the reference to the optimum.
`dpo` is DPO on fresh pairs of the reference with soft labels, its policy a table (tests/objectives/test_oracle.py): it
learns from labels and not by sampling. Bounds that a gap is asked to stay below are beside it.
"""

from time import perf_counter

import torch
from tests.objectives import enumerable
from tests.objectives.test_oracle import dpo_policy
from tests.rl.enumerable import BETA, BOUNDS, CASES, learn, world

from accorda.rl.registry import algorithms

SEEDS, DPO_BOUND = 5, 0.01


def main() -> dict[str, object]:
    """Case by case."""
    torch.set_num_threads(1)
    return {**{name: measured(name) for name in CASES}, "dpo": soft_labels()}


def measured(name: str) -> dict[str, object]:
    """All seeds of one case."""
    case, gaps, began = CASES[name], list[float](), perf_counter()
    for seed in range(SEEDS):
        one = world(algorithms()[case.algorithm](**case.settings), seed=seed, **case.world)
        learn(one, one.steps)
        gaps.append(round(one.gap(BETA), 4))
        print(name, seed, gaps[-1], flush=True)
    return told(gaps, BOUNDS[name], began)


def soft_labels() -> dict[str, object]:
    """All seeds of DPO, each with its own random numbers."""
    gaps, began = list[float](), perf_counter()
    for seed in range(SEEDS):
        one = enumerable.world(seed)
        gaps.append(round(one.gap(dpo_policy(one)), 4))
        print("dpo", seed, gaps[-1], flush=True)
    return told(gaps, DPO_BOUND, began)


def told(gaps: list[float], bound: float, began: float) -> dict[str, object]:
    """Gaps beside their bound."""
    seconds = round((perf_counter() - began) / SEEDS, 1)
    return {"gaps": gaps, "worst": max(gaps), "bound": bound, "seconds_per_run": seconds}
