"""The learning rates that `auto` takes, by stage and method."""

import json
from functools import cache
from importlib.resources import files
from typing import Any


@cache
def learning_rates() -> dict[str, Any]:
    """The committed table; `benchmarks/methods` writes its measured part."""
    return json.loads((files("accorda.recipe") / "learning_rates.json").read_text(encoding="utf-8"))


def rates_of(table: dict[str, Any], stage: str, num_parameters: int) -> dict[str, Any]:
    """The rates by method at a stage for a model of that size.

    Small models take rates tens of times higher: a rate measured on one size is not used beyond it, and a published
    one, found on models of 100 million parameters and more, not for a small one.
    """
    small, middle = table["small"], table["middle"]
    if num_parameters <= small["most_parameters"]:
        return middle["rates"].get(stage, {}) | small["rates"].get(stage, {})
    if num_parameters <= middle["most_parameters"]:
        return table["published"].get(stage, {}) | middle["rates"].get(stage, {})
    return table["published"].get(stage, {})
