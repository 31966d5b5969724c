"""Prompts become ids: what `generate` feeds for them, and nothing behind it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from accorda.data.example import Example, RowError
from accorda.data.formats.hints import PROMPTS, first, quoted
from accorda.data.formats.registry import Mapped, choose
from accorda.data.prompts.formats.prompt import plain
from accorda.data.reasoning import Reasoning
from accorda.data.rendered import Rendered
from accorda.data.renderer import Renderer
from accorda.errors import Refusal

FOLDER = "accorda.data.prompts.formats"


class PromptRenderer(Renderer):
    """Turns prompts into ids; what it stores is the renderer of conversations or completions that continue them."""

    rows_are = "prompts"

    def __init__(self, tokenizer: PreTrainedTokenizerBase, template: str = "auto", reasoning: Reasoning = "keep"):
        super().__init__(tokenizer, template, "last", reasoning)

    def reads(self, row: Mapping[str, Any], place: str, *, name: str, columns: Mapping[str, str]) -> Mapped:
        found = choose(row, place, name=name, columns=columns, folder=FOLDER, why_not=_never, suggest=suggestion)
        return WithColumns(found.name, found.columns, FOLDER)

    def trimmed(self, example: Example) -> Example:
        return example

    def completion_text(self, example: Example) -> str:
        """The answer that the row brought, if it did."""
        return str(example.columns.get("reference", ""))

    def render_many(self, examples: Sequence[Example]) -> list[Rendered | RowError]:
        return [self._prompt(example) for example in examples]

    def _prompt(self, example: Example) -> Rendered | RowError:
        try:
            ids = self.prompt_ids(example)
        except RowError as error:
            return error
        if not ids:
            return RowError("the prompt has no token to start from")
        return Rendered(np.array(ids, np.int32), np.zeros(len(ids), np.bool_), len(ids))


class WithColumns(Mapped):
    """Rows of which every column is kept, under the file's name for it."""

    def parse(self, row: Mapping[str, Any]) -> Example:
        example = super().parse(row)
        if not self.columns:
            return example
        taken = {*self.columns.values(), *example.columns}
        beside = {name: plain(value) for name, value in row.items() if name not in taken}
        return Example.from_dict({**example.to_dict(), "columns": {**beside, **example.columns}})


def suggestion(row: Mapping[str, Any]) -> str:
    """The `--column` option that probably fits."""
    texts = [name for name, value in row.items() if isinstance(value, str)]
    name = first(texts, PROMPTS) or (texts[0] if texts else "COLUMN")
    return f"--column {quoted('prompt', name)}"


def prompts_of(renderer: Renderer) -> PromptRenderer:
    """The renderer, which is one of prompts.

    Raises:
        Refusal: it is one of other rows.
    """
    if not isinstance(renderer, PromptRenderer):
        raise Refusal(f"the rows are {renderer.rows_are}, and stage rl takes prompts")
    return renderer


def _never(row: Mapping[str, Any]) -> None:
    """These rows are meant for this stage."""
