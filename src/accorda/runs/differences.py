"""What two runs do not have in common: settings, data, environment."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from accorda.runs.story import Story

PLACES = {"output"}  # settings that always differ
UNCOMPARED = {"git", "data"}  # compared on their own, or as data


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One thing that is not the same; None where one of them has no such thing."""

    what: str
    name: str
    old: str | None
    new: str | None


def differences(old: Story, new: Story) -> list[Difference]:
    """All of them, settings first."""
    pairs = (
        ("setting", {item.name: item.value for item in old.settings}, {item.name: item.value for item in new.settings}),
        ("data", data(old), data(new)),
        ("environment", surroundings(old.environment), surroundings(new.environment)),
    )
    return [
        Difference(what=what, name=name, old=ours.get(name), new=theirs.get(name))
        for what, ours, theirs in pairs
        for name in dict.fromkeys([*ours, *theirs])
        if ours.get(name) != theirs.get(name) and name not in PLACES
    ]


def data(story: Story) -> dict[str, str]:
    """The hashes and numbers of the rows."""
    hashes = story.environment.get("data") or {}
    found = {f"{split} hash": str(value)[:12] for split, value in hashes.items() if value}
    for split in ("train", "eval"):
        rows = story.rows_of(split).get("rows") or {}
        found |= {f"{split} rows {name}": str(number) for name, number in rows.items()}
    return found


def surroundings(values: Mapping[str, Any], at: str = "") -> dict[str, str]:
    """What a result can depend on, by dotted name."""
    found = {}
    for key, value in values.items():
        if not at and key in UNCOMPARED:
            continue
        if isinstance(value, Mapping):
            found |= surroundings(value, f"{at}{key}.")
        else:
            found[f"{at}{key}"] = value if isinstance(value, str) else json.dumps(value)
    return found
