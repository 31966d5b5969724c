"""The backends there are: the files of this folder that define `BACKEND`; a file's name is what settings call it."""

import importlib
from collections.abc import Callable
from dataclasses import fields
from functools import cache
from pathlib import Path

from accorda.errors import Refusal
from accorda.recipe.named import defining
from accorda.recipe.words import meant, shown
from accorda.rl.backends.contract import Backend
from accorda.rl.settings import BACKEND, RolloutSettings

FOLDER = Path(__file__).parent


@cache
def backends() -> dict[str, type[Backend]]:
    """Every backend by its file's name."""
    return {name: importlib.import_module(f"{__package__}.{name}").BACKEND for name in defining(FOLDER, "BACKEND")}


def check(settings: RolloutSettings, origin: Callable[[str], str]) -> None:
    """Refuse a backend that does not exist, and settings it has no use for or lacks."""
    known, name = backends(), settings.backend
    if name not in known:
        near = meant(name, known) or f": choose one of {', '.join(known)}"
        raise Refusal(f"rollout.backend = {shown(name)} ({origin('rollout.backend')}): no such backend{near}")
    for one in fields(settings):
        of, value = one.metadata.get(BACKEND, name), getattr(settings, one.name)
        if of != name and value != one.default:
            at = f"rollout.{one.name}"
            raise Refusal(
                f"{at} = {shown(value)} ({origin(at)}): backend {name} has no use for it; set rollout.backend={of}, or "
                "leave it out"
            )
    known[name].check(settings, origin)


def made(settings: RolloutSettings, folder: Path) -> Backend:
    """The backend that the settings name."""
    return backends()[settings.backend](settings, folder)
