"""Rows of an encoder-decoder: what its encoder reads and what its decoder learns to write.

    encoder   as the tokenizer writes a text: T5 puts the end of sequence behind it, BART its beginning in front, too
    decoder   the start token, then the answer as the tokenizer writes what is to be learned, and the end of sequence

The encoder's ids of a prompt are exactly what `generate` feeds. The start token is read and never learned; the
beginning of sequence that BART writes first is learned, as it is what BART has to write first.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

from accorda.data.example import Example, Message, RowError
from accorda.data.rendered import Plan, Rendered
from accorda.data.tokens import Tokens
from accorda.data.turns import Piece


class TwoSides:
    """The two sides of rows, for a decoder that begins with the id `start`.

    `flat`: there is no chat template, so a conversation is one question with its answer.
    """

    def __init__(self, tokens: Tokens, start: int, flat: bool):
        self.tokens = tokens
        self.start = start
        self.flat = flat

    def to_dict(self) -> dict[str, Any]:
        """What a renderer stores of it."""
        return {"decoder_start": self.start, "flat": self.flat}

    def shaped(self, example: Example) -> Example:
        """The row as it is read; a `RowError` where that cannot be."""
        if example.kind == "text":
            raise RowError("plain text has no prompt for the encoder to read: give prompt and completion")
        return as_prompt(example) if self.flat and example.kind == "messages" else example

    def cut(self, pieces: Sequence[Piece], targets: Sequence[int], answer: str) -> list[Piece]:
        """A conversation's pieces with the bare answer as the last one: the end of sequence is what ends it here."""
        if len(targets) > 1:
            raise RowError(f"an encoder-decoder learns one answer per row, not {len(targets)}: say data.supervise=last")
        return [*pieces[:-1], Piece(answer, targets[0])]

    def rows(self, rows: Sequence[Sequence[str]]) -> list[list[list[int]]]:
        """The ids of the pieces of each row; the last one, the answer, begins a text of its own."""
        prompts, answers = self.tokens.rows([row[:-1] for row in rows]), self.tokens.answers([row[-1] for row in rows])
        return [[*prompt, answer] for prompt, answer in zip(prompts, answers, strict=True)]

    def encoder_ids(self, pieces: Sequence[Sequence[int]]) -> list[int]:
        """A prompt's own ids with the tokenizer's around them; a `RowError` where there are none at all."""
        front, behind = self.tokens.frame
        framed = _framed(list(chain.from_iterable(pieces)), front, behind)
        if not framed:
            raise RowError("empty prompt: the encoder has nothing to read")
        return framed

    def decoder_ids(self, ids: Sequence[int]) -> list[int]:
        """An answer's own ids behind the start token, ended by the end of sequence."""
        front, behind = self.tokens.answer_frame
        if front == [self.start]:  # it stands there already
            front = []
        end = self.tokens.eos[1]
        return [self.start, *_framed(list(ids), front, behind if end in behind else [*behind, end])]

    def join(self, plan: Plan, pieces: list[list[int]]) -> Rendered | RowError:
        """Both sides as one row: all of the decoder's but the start token is learned."""
        if not pieces[-1]:
            return RowError("no token to learn")
        try:
            read = self.encoder_ids(pieces[:-1])
        except RowError as error:
            return error
        written = self.decoder_ids(pieces[-1])
        learned = np.arange(len(read) + len(written)) > len(read)
        return Rendered(np.array([*read, *written], np.int32), learned, len(read), len(read))


def _framed(ids: list[int], front: list[int], behind: list[int]) -> list[int]:
    """With what belongs around, unless a template wrote it already."""
    ids = ids if ids[: len(front)] == front else [*front, *ids]
    return ids if ids[len(ids) - len(behind) :] == behind else [*ids, *behind]


def as_prompt(example: Example) -> Example:
    """One question, a system message in front or not, as prompt and completion: what a model without template reads."""
    messages = list(example.messages)
    system = [messages.pop(0).content] if messages and messages[0].role == "system" else []
    if [message.role for message in messages] not in (["user"], ["user", "assistant"]) or example.tools:
        raise RowError(
            "an encoder-decoder without a chat template reads one question: give prompt and completion, or name a "
            "template with data.template"
        )
    question, answers = messages[0], messages[1:]
    prompt = "\n\n".join([*system, question.content])
    return Example(prompt=prompt, completion=_bare(answers), file=example.file, line=example.line)


def _bare(answers: Sequence[Message]) -> str | None:
    """The answer's text, if there is one."""
    for message in answers:
        if message.tool_calls or message.reasoning:
            raise RowError("tool calls and reasoning need a chat template: name one with data.template")
        if not message.content.strip():
            raise RowError("empty completion")
        return message.content
    return None
