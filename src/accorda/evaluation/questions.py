"""What is asked of a model for every row: the ids to continue, the answer, the tokens to find probable."""

from collections.abc import Iterable
from dataclasses import dataclass

from accorda.data.batch import Segment
from accorda.data.dataset import Dataset
from accorda.data.example import Example
from accorda.data.renderer import Renderer
from accorda.generation.words import decoded

PROMPT_OF_TEXT = 16
"""A text has no prompt; its first tokens are continued to see what the model writes."""


@dataclass(frozen=True, eq=False)
class Question:
    """One row to be measured by."""

    example: Example
    segment: Segment
    prompt_ids: list[int]
    prompt: str
    reference: str


def questions(dataset: Dataset, renderer: Renderer, indices: Iterable[int]) -> list[Question]:
    """The rows with these numbers."""
    return [_question(dataset, renderer, index) for index in indices]


def _question(dataset: Dataset, renderer: Renderer, index: int) -> Question:
    example, segment = dataset.example(index), dataset[index]
    if dataset.everything or example.kind == "text":
        ids = segment.input_ids.tolist()
        prompt_ids, reference = ids[:PROMPT_OF_TEXT], decoded(renderer.tokenizer, ids[PROMPT_OF_TEXT:])
    else:
        prompt_ids, reference = dataset.prompt_ids(index), renderer.completion_text(example)
    return Question(example, segment, prompt_ids, decoded(renderer.tokenizer, prompt_ids), reference)
