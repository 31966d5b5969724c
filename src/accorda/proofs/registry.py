"""The proofs, found by walking this folder: every file with a `Prover` is one."""

import importlib
import pkgutil
from functools import cache
from pathlib import Path

from accorda.proofs.contract import Prover

ORDER = ("mask", "coverage", "movement", "gradient", "packing", "resume", "save", "merge", "start", "roles")


@cache
def provers() -> dict[str, Prover]:
    """Every proof by name, in reading order: first those of ORDER, then any other by name."""
    found: dict[str, Prover] = {}
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        for value in vars(importlib.import_module(f"{__package__}.{module.name}")).values():
            if isinstance(value, type) and issubclass(value, Prover) and value is not Prover:
                found[value.name] = value()
    place = {name: number for number, name in enumerate(ORDER)}
    return {name: found[name] for name in sorted(found, key=lambda name: (place.get(name, len(place)), name))}
