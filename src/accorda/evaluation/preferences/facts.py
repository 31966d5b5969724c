"""The preference that `bundled:preferences` was made by, known as people's never is: who states more facts rightly.

A summary of a ticket states six facts. Of two summaries of one ticket the one that states more of them as the ticket's
true summary does is better. Pairs were labelled by it, one label in ten turned round; so what was learned from them can
be judged by what they meant.
"""

import re

STATED = {
    "name": r"^\s*([^:]+):",
    "product": r"^[^:]*: *(.+?) \(order",
    "order": r"\(order (\w+)\)",
    "problem": r"\(order \w+\) (.+?); wants",
    "wish": r"; wants (.+?)\. Urgency",
    "urgency": r"Urgency: (\w+)",
}
"""How each fact is found in a summary."""
NAMES = tuple(STATED)


def stated(summary: str) -> dict[str, str | None]:
    """The facts that a summary states; None where it has no such part."""
    found = {name: re.search(pattern, summary) for name, pattern in STATED.items()}
    return {name: match.group(1) if match else None for name, match in found.items()}


def true_reward(summary: str, true_summary: str) -> int:
    """How many of the six facts of a ticket's true summary another summary states: 0 to 6."""
    meant, said = stated(true_summary), stated(summary)
    return sum(said[name] == meant[name] for name in NAMES)
