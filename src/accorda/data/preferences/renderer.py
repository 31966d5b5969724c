"""Compared answers become ids: every answer behind the prompt it answers, as a row of stage sft would be, end to end.

The prompt's ids are the same in front of each answer of a row, or the row is refused: a difference there would be
learned as if people had preferred it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from accorda.data.example import Example, RowError
from accorda.data.formats.registry import Mapped
from accorda.data.preferences.columns import choose
from accorda.data.reasoning import Reasoning
from accorda.data.rendered import Rendered
from accorda.data.renderer import Renderer


class PreferenceRenderer(Renderer):
    """Turns compared answers into ids; what it stores is the renderer of the prompts and answers themselves.

    `thumbs`: every answer is a row of its own, liked or not (KTO), whatever it was compared with.
    """

    rows_are = "compared answers"

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        template: str = "auto",
        reasoning: Reasoning = "keep",
        *,
        thumbs: bool = False,
    ):
        super().__init__(tokenizer, template, "last", reasoning)
        self.thumbs = thumbs

    def reads(self, row: Mapping[str, Any], place: str, *, name: str, columns: Mapping[str, str]) -> Mapped:
        return choose(row, place, name=name, columns=columns)

    def trimmed(self, example: Example) -> Example:
        return example

    def completion_text(self, example: Example) -> str:
        """The best answer."""
        return super().completion_text(example.answered(example.ranks.index(min(example.ranks))))

    def render_many(self, examples: Sequence[Example]) -> list[Rendered | RowError]:
        rows = [answered(example) for example in examples]
        parts = iter(super().render_many([row for each in rows for row in each]))
        return [joined([next(parts) for _ in each]) for each in rows]


def answered(example: Example) -> list[Example]:
    """Every answer of a row as a row of its own; a row without compared answers is one answer already."""
    return [example.answered(number) for number in range(len(example.answers))] or [example]


def joined(parts: Sequence[Rendered | RowError]) -> Rendered | RowError:
    """The answers of one row end to end. The first token of each is read only: nothing stands before it."""
    for part in parts:
        if isinstance(part, RowError):
            return part
    rows = [part for part in parts if isinstance(part, Rendered)]
    prompts = [row.input_ids[: row.prompt_length] for row in rows]
    if not all(np.array_equal(prompt, prompts[0]) for prompt in prompts):
        return RowError("the template shows the prompt in another way to each answer: say data.template=chatml")
    learned = [np.arange(len(row.supervised)) >= max(row.prompt_length, 1) for row in rows]
    if not all(flags.any() for flags in learned):
        return RowError("no token to learn")
    return Rendered(
        np.concatenate([row.input_ids for row in rows]), np.concatenate(learned), max(rows[0].prompt_length, 1)
    )
