"""Parts of the benchmark by themselves; the package's docstring says which."""

import sys
import time

import torch

from benchmarks.methods import final, table
from benchmarks.methods.sweep import sweep


def main(arguments: list[str]) -> int:
    """Do one part.

    Raises:
        SystemExit: it has no such part.
    """
    torch.set_num_threads(1)
    match arguments:
        case ["sweep", ("sft" | "classify") as stage, minutes, *methods]:
            sweep(stage, methods or known(), time.time() + 60 * float(minutes))
        case ["final", minutes, *methods]:
            until = time.time() + 60 * float(minutes)
            for method, seed in final.missing():
                if time.time() < until and method in (methods or (final.PROBE, *known())):
                    final.apart(method, seed)
        case ["run", method, seed]:
            final.measure(method, int(seed))
        case ["table"]:
            table.write()
        case _:
            raise SystemExit("sweep STAGE MINUTES [METHOD ...], final MINUTES [METHOD ...], run METHOD SEED, or table")
    return 0


def known() -> list[str]:
    """Every method."""
    from accorda.methods.registry import methods

    return list(methods())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
