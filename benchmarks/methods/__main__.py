"""Parts of the benchmark by themselves; the package's docstring says which."""

import sys
import time
from collections.abc import Sequence

import torch

from benchmarks.methods import final, grid, long, page, table
from benchmarks.methods.sweep import sweep

USAGE = (
    "sweep STAGE MINUTES [METHOD ...], long MINUTES [METHOD ...], missing [METHOD ...], "
    "run METHOD SEED [RATE], or table"
)


def main(arguments: list[str]) -> int:
    """Do one part.

    Raises:
        SystemExit: it has no such part.
    """
    torch.set_num_threads(1)
    match arguments:
        case ["sweep", ("sft" | "classify") as stage, minutes, *methods]:
            sweep(stage, methods or known(), time.time() + 60 * float(minutes))
        case ["long", minutes, *methods]:
            runs(methods or known(), time.time() + 60 * float(minutes))
        case ["missing", *methods]:
            for method, seed, rate in long.missing(methods or known()):
                print(method, seed, *([] if rate is None else [f"{rate:g}"]))
        case ["run", method, seed, *rates] if len(rates) <= 1:
            long.measure(method, int(seed), *map(float, rates))
        case ["table"]:
            table.write()
            final.score(known())
            page.write()
        case _:
            raise SystemExit(USAGE)
    return 0


def runs(methods: Sequence[str], until: float) -> None:
    """The long runs that are missing, one after the other."""
    for run in long.missing(methods):
        if time.time() < until:
            long.apart(*run)


def known() -> list[str]:
    """Every method, those that go first at the front."""
    from accorda.methods.registry import methods

    return [*grid.FIRST, *(name for name in methods() if name not in grid.FIRST)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
