"""How near the algorithms of stage rl come to an optimum that is known.

Five seeds of each case of tests/rl/enumerable.py: the gap is what is left of the way from the reference to the optimum.
The bounds of tests/rl/test_oracle.py are three times the worst of them.
"""

from time import perf_counter

import torch
from tests.rl.enumerable import BETA, CASES, learn, world

from accorda.rl.registry import algorithms

SEEDS = 5


def main() -> dict[str, object]:
    """Case by case."""
    torch.set_num_threads(1)
    return {name: measured(name) for name in CASES}


def measured(name: str) -> dict[str, object]:
    """All seeds of one case."""
    case, gaps, began = CASES[name], list[float](), perf_counter()
    for seed in range(SEEDS):
        one = world(algorithms()[case.algorithm](**case.settings), seed=seed, **case.world)
        learn(one, one.steps)
        gaps.append(round(one.gap(BETA), 4))
        print(name, seed, gaps[-1], flush=True)
    return {"gaps": gaps, "worst": max(gaps), "seconds_per_run": round((perf_counter() - began) / SEEDS, 1)}
