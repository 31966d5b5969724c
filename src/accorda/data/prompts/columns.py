"""How rows of prompts are read, told by one of them, before there is a tokenizer."""

from collections.abc import Mapping
from typing import Any

from accorda.data.example import Example
from accorda.data.formats import registry
from accorda.data.formats.hints import PROMPTS, first, is_prose, quoted
from accorda.data.formats.registry import Mapped
from accorda.data.prompts.formats.prompt import plain

FOLDER = "accorda.data.prompts.formats"


class WithColumns(Mapped):
    """Rows of which every column is kept, under the file's name for it."""

    def parse(self, row: Mapping[str, Any]) -> Example:
        example = super().parse(row)
        if not self.columns:
            return example
        taken = {*self.columns.values(), *example.columns}
        beside = {name: plain(value) for name, value in row.items() if name not in taken}
        return Example.from_dict({**example.to_dict(), "columns": {**beside, **example.columns}})


def choose(row: Mapping[str, Any], place: str, *, name: str = "auto", columns: Mapping[str, str]) -> Mapped:
    """The format of a source; a `Refusal` where none fits."""
    found = registry.choose(
        row, place, name=name, columns=columns, folder=FOLDER, why_not=lambda row: None, suggest=suggestion
    )
    return WithColumns(found.name, found.columns, FOLDER)


def suggestion(row: Mapping[str, Any]) -> str:
    """The `--column` option that probably fits."""
    texts = [name for name, value in row.items() if isinstance(value, str)]
    name = first(texts, PROMPTS) or next((name for name in texts if is_prose(row[name])), "COLUMN")
    return f"--column {quoted('prompt', name)}"
