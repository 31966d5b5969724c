"""The learning rates that `auto` takes, by stage and method."""

import json
from collections.abc import Mapping
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
    one, found on models of 100 million parameters and more, not for a small one. A method that learned nothing at any
    rate tried has no measured one.
    """
    small, middle = table["small"], table["middle"]
    if num_parameters <= small["most_parameters"]:
        return middle["rates"].get(stage, {}) | small["rates"].get(stage, {})
    if num_parameters <= middle["most_parameters"]:
        return table["published"].get(stage, {}) | middle["rates"].get(stage, {})
    return table["published"].get(stage, {})


def borrowed(
    table: dict[str, Any], stage: str, num_parameters: int, rates: dict[str, Any], relatives: Mapping[str, str | None]
) -> dict[str, Any]:
    """The rates, and for relatives without one that of the method whose form they have, by names, saying so.

    A relative that learned nothing at a stage borrows no rate there.
    """
    found = {
        name: {"rate": rates[of]["rate"], "origin": f"{of}'s, whose form it has; not measured"}
        for name, of in relatives.items()
        if of in rates and not why_unlearned(table, stage, num_parameters, name)
    }
    return found | rates


def why_unlearned(table: dict[str, Any], stage: str, num_parameters: int, method: str) -> str:
    """Behind a refusal: that the method was measured on a model of that size and learned nothing, or ""."""
    for size in ("small", "middle"):
        entry = table[size].get("unlearned", {}).get(stage, {}).get(method)
        if entry is not None and num_parameters <= table[size]["most_parameters"]:
            return f" ({entry['why']})"
    return ""
