"""Prompts become ids: what `generate` feeds for them, and nothing behind it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from accorda.data.example import Example, RowError
from accorda.data.formats.registry import Mapped
from accorda.data.prompts.columns import choose
from accorda.data.reasoning import Reasoning
from accorda.data.rendered import Rendered
from accorda.data.renderer import Renderer
from accorda.errors import Refusal


class PromptRenderer(Renderer):
    """Turns prompts into ids; what it stores is the renderer of conversations or completions that continue them."""

    rows_are = "prompts"

    def __init__(self, tokenizer: PreTrainedTokenizerBase, template: str = "auto", reasoning: Reasoning = "keep"):
        super().__init__(tokenizer, template, "last", reasoning)

    def reads(self, row: Mapping[str, Any], place: str, *, name: str, columns: Mapping[str, str]) -> Mapped:
        return choose(row, place, name=name, columns=columns)

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


def prompts_of(renderer: Renderer) -> PromptRenderer:
    """The renderer, which is one of prompts.

    Raises:
        Refusal: it is one of other rows.
    """
    if not isinstance(renderer, PromptRenderer):
        raise Refusal(f"the rows are {renderer.rows_are}, and stage rl takes prompts")
    return renderer
