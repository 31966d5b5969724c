"""Where the time went, part by part, and how far the products were from the machine's own."""

from accorda.runs.figures import duration
from accorda.runs.markup import table, text
from accorda.runs.sections.bars import bar, named
from accorda.runs.spent import PARTS, parts, reached
from accorda.runs.story import Story


def spent(story: Story) -> str:
    """One bar, the sentence about the products, a row for every part; nothing without a profile."""
    profile = story.result.get("profile") or {}
    found = parts(profile)
    if not found:
        return ""
    items, order = {name: seconds for name, seconds, _ in found}, [name for name, _, _ in found]
    rows = [
        (named(name, order), duration(seconds), f"{share:.1%}", text(PARTS[name])) for name, seconds, share in found
    ]
    line = reached(profile)
    return (
        bar("the whole run", items, sum(items.values()), order, duration)
        + (f'<p class="note">{text(line)}</p>' if line else "")
        + table(("part", "time", "share", "what it is"), rows, "bill")
    )
