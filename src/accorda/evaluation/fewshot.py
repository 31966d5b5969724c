"""Worked examples in front of a question: what the base model can do when shown instead of tuned.

Brown et al., "Language Models are Few-Shot Learners", 2020, arXiv:2005.14165. The examples are drawn once, by a seed,
and are the same for every question. In a conversation they are earlier turns; before a plain prompt they stand as text,
each prompt and completion joined as in training, with a separator behind that none of them contains. Where the context
is too short for all of them, a question gets the shortest.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from accorda.data.batch import Segment
from accorda.data.dataset import Dataset
from accorda.data.example import Example, Message
from accorda.data.rendered import Rendered
from accorda.data.renderer import Renderer
from accorda.evaluation.questions import Question
from accorda.generation.words import decoded

SEPARATORS = ("\n\n", "\n\n\n", "\n\n---\n\n")


@dataclass(frozen=True)
class Shots:
    """Drawn examples, one to spare, and what stands behind each where they are plain text."""

    number: int
    examples: tuple[Example, ...]
    separator: str

    def before(self, question: Example, number: int) -> Example:
        """The question with this many examples in front, none of them supervised, none the question itself."""
        chosen = [example for example in self.examples if example.to_dict() != question.to_dict()][:number]
        if question.kind == "messages":
            return replace(question, messages=_as_turns(chosen, question))
        shown = "".join(f"{shot.prompt}{shot.completion}{self.separator}" for shot in chosen)
        return replace(question, prompt=shown + (question.prompt or ""))


@dataclass(frozen=True)
class Shown:
    """Questions with examples in front, and how many questions got how many."""

    questions: list[Question]
    counts: dict[int, int]


def draw(train: Dataset, number: int, kind: str, seed: int = 0) -> Shots | None:
    """Examples of one kind; None where there are none, or where rows are texts without a question."""
    found: list[Example] = []
    for index in np.random.default_rng(seed).permutation(len(train)) if kind != "text" else ():
        if len(found) > number:
            break
        example = train.example(int(index))
        if example.kind == kind:
            found.append(example)
    found.sort(key=lambda example: len(example.to_json()))
    texts = [text for example in found for text in (example.prompt or "", example.completion or "")]
    free = [separator for separator in SEPARATORS if not any(separator in text for text in texts)]
    return Shots(number, tuple(found), free[0] if free else SEPARATORS[-1]) if found else None


def show(shots: Shots, asked: Sequence[Question], renderer: Renderer, longest: int, reserve: int) -> Shown:
    """Put examples before questions, as many as leave the row within `longest` tokens and `reserve` for an answer."""
    made: dict[int, tuple[Question, int]] = {}
    for number in range(shots.number, 0, -1):
        waiting = [place for place in range(len(asked)) if place not in made]
        rendered = renderer.render_many([shots.before(asked[place].example, number) for place in waiting])
        for place, row in zip(waiting, rendered, strict=True):
            if isinstance(row, Rendered) and _room(row, reserve) <= longest:
                made[place] = _question(asked[place], row, renderer), number
    placed = [made.get(place, (question, 0)) for place, question in enumerate(asked)]
    return Shown([question for question, _ in placed], dict(Counter(number for _, number in placed)))


def _room(row: Rendered, reserve: int) -> int:
    """Positions that a row and its answer take; an encoder-decoder's prompt and its answer do not share any."""
    answer = len(row.input_ids) - row.prompt_length
    return max(row.encoder_length, answer, reserve) if row.encoder_length else row.prompt_length + max(answer, reserve)


def _question(bare: Question, row: Rendered, renderer: Renderer) -> Question:
    place = bare.segment.file, bare.segment.line
    segment = Segment(bare.segment.index, row.input_ids, row.supervised, *place, row.encoder_length)
    ids = row.input_ids[: row.prompt_length].tolist()
    return replace(bare, segment=segment, prompt_ids=ids, prompt=decoded(renderer.tokenizer, ids))


def _as_turns(shots: Sequence[Example], question: Example) -> tuple[Message, ...]:
    """Earlier turns, behind the question's own system message and without those of the examples."""
    system = [message for message in question.messages[:1] if message.role == "system"]
    turns = [
        replace(message, train=False if message.role == "assistant" else None)
        for shot in shots
        for message in shot.messages
        if message.role != "system"
    ]
    return (*system, *turns, *question.messages[len(system) :])
