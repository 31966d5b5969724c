"""What the formats have in common: what was asked, in one of its spellings, and an answer, in one of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from accorda.data.example import Example, Message, RowError
from accorda.data.formats import messages, sharegpt
from accorda.data.formats.fields import Row, kind_of, optional_text
from accorda.data.formats.tools import schemas

ASKED = ("prompt", "messages", "conversations", "instruction", "input", "system", "tools")
"""Columns in which what was asked may stand."""


@dataclass(frozen=True)
class Asked:
    """What answers are about: a text that they continue, or a conversation."""

    text: str | None = None
    turns: tuple[Message, ...] = ()

    def compared(
        self, row: Row, answers: Sequence[Message], ranks: Sequence[int], margin: float | None = None
    ) -> Example:
        """The row as an example."""
        for answer in answers:
            if not (answer.content.strip() or answer.tool_calls or answer.reasoning):
                raise RowError("empty answer")
        return self.example(row, answers=tuple(answers), ranks=tuple(ranks), margin=margin)

    def example(self, row: Row, **more: Any) -> Example:
        """What was asked as an example, with whatever else there is of it."""
        if self.text is not None:
            if row.get("system") or row.get("tools"):
                raise RowError("system and tools belong to a conversation, and this prompt is a text")
            return Example(prompt=self.text, **more)
        if not self.turns:
            raise RowError("nothing was asked: the conversation is empty")
        system = (Message(role="system", content=optional_text(row, "system")),) if row.get("system") else ()
        return Example(messages=(*system, *self.turns), tools=schemas(row), **more)


def asked(row: Row) -> Asked | None:
    """What was asked, where a column of its own says so."""
    prompt = row.get("prompt")
    if isinstance(prompt, str):
        return Asked(prompt)
    if prompt is not None:
        return Asked(turns=turns_of(prompt, "prompt"))
    for name in messages.COLUMNS:
        if row.get(name) is not None:
            return Asked(turns=turns_of(row[name], name))
    if isinstance(row.get("instruction"), str):
        more = optional_text(row, "input")
        content = f"{row['instruction']}\n\n{more}" if more else row["instruction"]
        return Asked(turns=(Message(role="user", content=content),))
    return None


def turns_of(value: Any, name: str) -> tuple[Message, ...]:
    """A list of turns, OpenAI's or ShareGPT's."""
    if not isinstance(value, list):
        raise RowError(f"{name!r} is {kind_of(value)}, neither text nor a list of messages")
    format_of = sharegpt if sharegpt.has_turns(value, "from") else messages
    try:
        return format_of.parse({"conversations": value}).messages
    except RowError as error:
        raise RowError(str(error).replace("conversations", name)) from None


def answer_of(value: Any, name: str) -> tuple[Message, ...]:
    """An answer as turns: a text is the one turn of an assistant; one message counts as a list of one."""
    if isinstance(value, str):
        return (Message(role="assistant", content=value),)
    return turns_of([value] if isinstance(value, Mapping) else value, name)


def one_answer(turns: Sequence[Message], name: str) -> Message:
    """The single turn of an assistant that these are; what a model reads in between is compared by nobody."""
    if len(turns) != 1 or turns[0].role != "assistant":
        roles = ", ".join(turn.role for turn in turns) or "nothing"
        raise RowError(f"{name!r} is no single answer of an assistant (it is {roles})")
    return turns[0]
