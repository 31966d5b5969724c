"""A recipe in the making: the other tool's keys with their lines, the settings found so far, a note for every key."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from accorda.errors import Refusal
from accorda.recipe.migrate.rules import Kind, Tool
from accorda.recipe.words import shown


@dataclass(frozen=True, kw_only=True)
class Known:
    """Names that this version has: of methods, number formats, optimizers, chat templates and trackers."""

    methods: frozenset[str]
    quantization: frozenset[str]
    optimizers: frozenset[str]
    templates: frozenset[str]
    trackers: frozenset[str]


@dataclass(kw_only=True)
class Note:
    """What became of one key."""

    key: str
    value: Any
    line: int | None
    kind: Kind
    says: list[str] = field(default_factory=list)
    settings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Setting:
    """A value of the recipe, and the words behind it in the file."""

    value: Any
    comment: str


class Draft:
    """Reads keys, puts settings, notes what became of each key. Keys are dotted below the top: `datasets[0].type`."""

    def __init__(
        self, tool: Tool, path: str, given: Mapping[str, Any], lines: Mapping[str, int], known: Known, devices: int
    ):
        self.tool, self.path, self.given, self.lines = tool, path, given, lines
        self.known, self.devices = known, devices
        self.settings: dict[str, Setting] = {}
        self.notes: dict[str, Note] = {}

    def has(self, key: str) -> bool:
        """Whether the key is given with a value."""
        return self.given.get(key) is not None

    def value(self, *keys: str) -> Any:
        """The first of the keys that is given, else the tool's default for them."""
        found = next((self.given[key] for key in keys if self.has(key)), None)
        return (
            found if found is not None else next((self.tool.defaults[k] for k in keys if k in self.tool.defaults), None)
        )

    def on(self, *keys: str) -> bool:
        """Whether a switch is on."""
        return bool(self.value(*keys))

    def number(self, *keys: str) -> int | float:
        """A value that must be a number; numbers in quotes count, as they do for the tools.

        Raises:
            Refusal: it is none.
        """
        value = self.value(*keys)
        try:
            found = value if isinstance(value, int | float) else float(str(value))
        except ValueError:
            found = math.nan
        if isinstance(found, bool) or not math.isfinite(found):
            raise self.refuse(next(key for key in keys if self.has(key)), "must be a number")
        return found

    def listed(self, key: str, value: object = None) -> list[str]:
        """Names given as a list or as text with commas: those of a key, or of `value`, which stands at an inner one.

        Raises:
            Refusal: a mapping, or a list of something else than names.
        """
        value = self.value(key) if value is None else value
        items = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else [value]
        if any(isinstance(item, dict | list) for item in items):
            raise self.refuse(key, "must be a name or a list of names", value)
        return [name for item in items if item is not None and (name := str(item).strip())]

    def place(self, key: str) -> str:
        """`file:line` of a key."""
        return f"{self.path}:{self.lines[key]}" if key in self.lines else self.path

    def put(
        self, setting: str, value: object, *keys: str, says: str = "", kind: Kind = "mapped", why: str = ""
    ) -> None:
        """Set a value that those keys ask for; where none is given the tool's default does, or `why` says what does.

        `says` makes the keys' meaning different, and is told.
        """
        used = [key for key in keys if key in self.given]
        origin = ", ".join(f"{key} (line {self.lines[key]})" if key in self.lines else key for key in used)
        self.settings[setting] = Setting(value, why or origin or f"{self.tool.title}'s default")
        for key in used:
            self.tell("differs" if says and kind == "mapped" else kind, key, says, setting)

    def tell(self, kind: Kind, key: str, says: str = "", setting: str = "", value: object = None) -> None:
        """Note what became of a key; what was said before of the same key stays, the graver word wins."""
        shown_value = self.given.get(key) if value is None else value
        note = self.notes.setdefault(key, Note(key=key, value=shown_value, line=self.lines.get(key), kind=kind))
        if GRAVITY.index(kind) > GRAVITY.index(note.kind):
            note.kind = kind
        note.says += [says] if says and says not in note.says else []
        note.settings += [setting] if setting and setting not in note.settings else []

    def claim(self, *keys: str, says: str = "", kind: Kind = "mapped") -> None:
        """Note those of the keys that are given; one that has been read already is not dropped."""
        for key in keys:
            if key in self.given and not (kind == "dropped" and key in self.notes):
                self.tell(kind, key, says)

    def refuse(self, key: str, reason: str, value: object = None) -> Refusal:
        """The refusal of a configuration for one of its keys; `value` is what stands at an inner one."""
        return Refusal(f"{self.place(key)}: {key} = {shown(self.given.get(key) if value is None else value)}: {reason}")


GRAVITY: tuple[Kind, ...] = ("dropped", "mapped", "differs", "no counterpart", "unknown")
