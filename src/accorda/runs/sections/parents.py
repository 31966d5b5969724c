"""What differs from the run that this one came out of."""

from pathlib import Path

from accorda.runs.differences import Difference, differences
from accorda.runs.lineage import nearest
from accorda.runs.markup import code, table, text
from accorda.runs.story import Story, tell


def parents(story: Story) -> str:
    """One table per parent; a parent that is gone is named."""
    recorded = [str(parent) for parent in story.result.get("parents") or ()]
    return "".join(parent(story, nearest(story.folder.path, path)) for path in recorded)


def parent(story: Story, path: Path) -> str:
    """The parent's name and the table."""
    old = tell(path)
    name = f"<h3>{text(path.name)} <small>{text(path)}</small></h3>"
    if not old.folder.is_run():
        return f'{name}<p class="note">It is not there any more, so nothing can be compared.</p>'
    found = differences(old, story)
    same = '<p class="note">The same settings, data and environment.</p>'
    return name + (table(("", "name", "parent", "this run"), map(row, found), "differences") or same)


def row(item: Difference) -> tuple[str, str, str, str]:
    """One difference."""
    old, new = ("–" if value is None else code(value) for value in (item.old, item.new))
    return text(item.what), text(item.name), old, new
