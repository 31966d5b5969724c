"""A configuration file of another tool, converted: the recipe, what became of every key, and the text to write."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accorda.errors import Refusal
from accorda.recipe.layers import put
from accorda.recipe.migrate.draft import Draft, Known, Note
from accorda.recipe.migrate.registry import choose
from accorda.recipe.migrate.rules import OFF, Rule
from accorda.recipe.migrate.write import recipe_text
from accorda.recipe.parse import parse
from accorda.recipe.sections import Recipe
from accorda.recipe.words import meant

OLD_SWITCHES = {"yes": True, "on": True, "no": False, "off": False}  # YAML 1.1, which those tools read


@dataclass(frozen=True, kw_only=True)
class Migration:
    """What came out of one file."""

    tool: str
    recipe: Recipe
    text: str
    notes: tuple[Note, ...]


def migrate(path: str, known: Callable[[], Known], *, tool: str | None = None, devices: int = 1) -> Migration:
    """Read `path` as a configuration of `tool` (None: told by its keys) that ran on `devices` devices.

    `known` is asked once the file and its tool are found.

    Raises:
        Refusal: unreadable file; a tool that cannot be told; a stage or a value that a recipe cannot hold.
    """
    given, lines = _read(path)
    chosen = choose(given, path, tool)
    draft = Draft(chosen, path, given, lines, known(), devices)
    for part in draft.tool.parts:
        part(draft)
    for key in given:
        if key not in draft.notes:
            _by_table(draft, key, draft.tool.table.get(key))
    notes = tuple(sorted(draft.notes.values(), key=lambda note: (note.line or 0, note.key)))
    return Migration(tool=draft.tool.title, recipe=_recipe(draft), text=recipe_text(draft, notes), notes=notes)


def _by_table(draft: Draft, key: str, rule: Rule | None) -> None:
    """What the tool's table says of one key; keys without a value and switches that are off ask for nothing."""
    value = draft.given[key]
    if rule is None:
        near = meant(key, [*draft.tool.table, *draft.tool.defaults, *draft.tool.signature])
        draft.tell("unknown", key, f"no key of {draft.tool.title} that is known here{near}")
    elif value is None or (rule.kind == "no counterpart" and (value in OFF or value in ([], {}))):
        draft.tell("dropped", key, "not set" if value is None else "off")
    elif rule.setting:
        try:
            draft.put(rule.setting, rule.reads(value), key, says=rule.says)
        except (TypeError, ValueError):
            raise draft.refuse(key, "must be a number") from None
    else:
        draft.tell(rule.kind, key, rule.says)


def _read(path: str) -> tuple[dict[str, Any], dict[str, int]]:
    """The mapping in a YAML or JSON file, and the line of every key by dotted name."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise Refusal(f"{path}: cannot be read: {(error.strerror or 'unreadable').lower()}") from error
    except UnicodeDecodeError as error:
        raise Refusal(f"{path}: byte {error.start} is not UTF-8 text") from error
    value, lines = parse(text, path)
    if value is None:
        raise Refusal(f"{path}: the file {'is empty' if not text.strip() else 'holds comments alone'}; name another")
    if not isinstance(value, dict) or not value:
        raise Refusal(f"{path}: a configuration must be a mapping of keys to values")
    found = {key: line for key, (line, _) in lines.items()}
    heads = [(line.partition(":")[0], number) for number, line in enumerate(text.splitlines(), start=1)]
    found |= {key: number for key, number in heads if key in value}  # a block's value begins a line below its key
    return {str(key): _switched(item) for key, item in value.items()}, found


def _switched(value: object) -> Any:
    """`yes` and `no` without quotes as those tools read them."""
    return OLD_SWITCHES.get(value.lower(), value) if isinstance(value, str) else value


def _recipe(draft: Draft) -> Recipe:
    """The settings read strictly; a value that is refused is named with its line in the other tool's file."""
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for name, setting in draft.settings.items():
        put(values, origins, name.split("."), setting.value, f"{draft.path}: {setting.comment}")
    return Recipe.build(values, origins)


def grouped(notes: tuple[Note, ...]) -> Mapping[str, list[Note]]:
    """The notes by what became of the keys."""
    kinds = ("mapped", "differs", "no counterpart", "unknown", "dropped")
    return {kind: [note for note in notes if note.kind == kind] for kind in kinds}
