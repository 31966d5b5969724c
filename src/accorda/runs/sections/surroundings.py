"""Where it ran: the facts that results depend on, and folded all that was recorded."""

import json
from typing import Any

from accorda.runs.figures import size
from accorda.runs.markup import code, facts, folded, table, text
from accorda.runs.story import Story, is_number


def surroundings(story: Story) -> str:
    """The usual questions first."""
    found = story.environment
    if not found:
        return ""
    packages, processor = found.get("packages") or {}, found.get("processor") or {}
    memory, git = found.get("memory_bytes"), found.get("git") or {}
    commit = f"{str(git.get('commit'))[:12]}{' with changes' if git.get('changed') else ''}" if git else ""
    known = [
        ("device", text(found.get("device") or "")),
        ("processor", text(processor.get("name") or "")),
        ("cores", text(processor.get("usable_cores") or "")),
        ("memory", size(memory) if is_number(memory) else ""),
        ("threads", text(found.get("threads") or "")),
        ("seed", text(found.get("seed", ""))),
        ("Python", text(found.get("python") or "")),
        *((name, text(packages.get(name, ""))) for name in ("accorda", "torch", "transformers")),
        ("commit", code(commit) if commit else ""),
    ]
    rows = [(text(name), code(value)) for name, value in flat(found)]
    return facts(known) + folded("everything recorded", table(("what", "value"), rows, "settings"))


def flat(values: dict[str, Any], at: str = "") -> list[tuple[str, str]]:
    """Nested values by dotted name."""
    found = []
    for key, value in values.items():
        if isinstance(value, dict):
            found += flat(value, f"{at}{key}.")
        else:
            found.append((f"{at}{key}", value if isinstance(value, str) else json.dumps(value)))
    return found
