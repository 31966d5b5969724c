"""The recipe as text: one setting per line with the key it came from, and below what does not carry over."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from accorda import __version__
from accorda.recipe.migrate.draft import Draft, Note
from accorda.recipe.reader import names
from accorda.recipe.sections import Recipe
from accorda.recipe.write import flow

WIDTH = 44  # where comments begin
ENDS = {
    "differs": "These keys mean something else here:",
    "no counterpart": "These keys have no counterpart:",
    "unknown": "These keys are not known:",
}


def recipe_text(draft: Draft, notes: Sequence[Note]) -> str:
    """The settings in the order of the recipe's sections, each with its origin; then what a reader must know."""
    tree: dict[str, Any] = {}
    order = {name: place for place, name in enumerate(names(Recipe))}
    for name, setting in sorted(draft.settings.items(), key=lambda item: order.get(item[0], len(order))):
        *sections, key = name.split(".")
        target = tree
        for section in sections:
            target = target.setdefault(section, {})
        target[key] = setting
    ordered = {section: tree[section] for section in Recipe.__dataclass_fields__ if section in tree}
    title = f"# {draft.path}, a configuration of {draft.tool.title}, as accorda migrate {__version__} reads it."
    return "\n".join([title, *_lines(ordered, 0), *_told(notes)]) + "\n"


def _lines(tree: Mapping[str, Any], depth: int) -> Iterator[str]:
    for key, value in tree.items():
        start = f"{'  ' * depth}{flow(str(key))}:"
        if isinstance(value, Mapping):
            yield from ["", start] if depth == 0 else [start]
            yield from _lines(value, depth + 1)
        else:
            yield f"{start + ' ' + flow(value.value):<{WIDTH}}  # {' '.join(value.comment.split())}"


def _told(notes: Sequence[Note]) -> Iterator[str]:
    for kind, title in ENDS.items():
        found = [note for note in notes if note.kind == kind]
        if found:
            yield from ("", f"# {title}")
        for note in found:
            yield from textwrap.wrap(told(note), 110, initial_indent="#   ", subsequent_indent="#     ")


def told(note: Note) -> str:
    """One note on one line."""
    value = " ".join(flow(note.value).split())
    value = value if len(value) <= 60 else value[:57] + "..."
    return f"{note.key}: {value}{f' (line {note.line})' if note.line else ''}: {'; '.join(note.says)}"
