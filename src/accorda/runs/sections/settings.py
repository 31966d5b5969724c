"""Every setting as used, with where it came from: what somebody said, what was decided for them, and the defaults."""

from accorda.runs.markup import code, folded, table, text
from accorda.runs.story import Setting, Story

AUTO = "auto: "


def settings(story: Story) -> str:
    """Three tables, the defaults folded."""
    given = [item for item in story.settings if not item.origin.startswith(("default", "auto"))]
    decided = [item for item in story.settings if item.origin.startswith("auto")]
    usual = [item for item in story.settings if item.origin.startswith("default")]
    return (
        titled("given", listed(given, "from"))
        + titled("decided for this run", listed(decided, "because"))
        + folded(f"{len(usual)} defaults", listed(usual, "")) * bool(usual)
    )


def titled(title: str, body: str) -> str:
    """A table under its title."""
    return f"<h3>{text(title)}</h3>{body}" if body else ""


def listed(items: list[Setting], why: str) -> str:
    """Name, value and origin."""
    rows = [
        (text(item.name), code(item.value), *([text(item.origin.removeprefix(AUTO))] if why else [])) for item in items
    ]
    return table(("setting", "value", *([why] if why else [])), rows, "settings")
