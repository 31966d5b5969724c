"""One row in the one shape that the rest of the package knows, whatever format it came in."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any, Literal

Kind = Literal["messages", "completion", "text", "labelled"]
ROLES = ("system", "user", "assistant", "tool")


class RowError(Exception):
    """What is wrong with one row; whoever reads the rows adds the place and obeys `data.on_bad_row`."""


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be used: where it stands and why."""

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}"


@dataclass(frozen=True, kw_only=True)
class Message:
    """One turn. `train` says whether an assistant turn is learned from; None leaves it to `data.supervise`."""

    role: str
    content: str = ""
    reasoning: str | None = None
    tool_calls: tuple[dict[str, Any], ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    """What else the template may read: `name`, `tool_call_id`, alpaca's `instruction` and `input`."""
    train: bool | None = None

    def to_dict(self) -> dict[str, Any]:
        """Only what is set, for the token store."""
        return {
            "role": self.role,
            "content": self.content,
            **({"reasoning": self.reasoning} if self.reasoning is not None else {}),
            **({"tool_calls": list(self.tool_calls)} if self.tool_calls else {}),
            **({"extra": dict(self.extra)} if self.extra else {}),
            **({"train": self.train} if self.train is not None else {}),
        }


@dataclass(frozen=True, kw_only=True)
class Example:
    """A conversation (`messages`), a prompt with its completion, or a text alone or with a label; and where it stood.

    `completion` is None where only a prompt is known, as when a model is asked. `label` is a class, or a number.
    Where people compared `answers`, the conversation or prompt is what they answer, and `ranks` says how: 0 is best.
    """

    messages: tuple[Message, ...] = ()
    tools: tuple[dict[str, Any], ...] = ()
    prompt: str | None = None
    completion: str | None = None
    text: str | None = None
    text_pair: str | None = None
    label: str | float | None = None
    answers: tuple[Message, ...] = ()
    ranks: tuple[int, ...] = ()
    """Of each answer; equal ranks are ties. A single answer has 0 where people liked it, 1 where they did not."""
    margin: float | None = None
    """By how much the better answer should win, where people said so."""
    columns: Mapping[str, Any] = field(default_factory=dict)
    """What else a row that only asks has, for the function that judges answers to it."""
    file: str = ""
    line: int = 0

    @property
    def kind(self) -> Kind:
        """Which of the four it is."""
        if self.label is not None:
            return "labelled"
        if self.text is not None:
            return "text"
        return "completion" if self.prompt is not None else "messages"

    def at(self, file: str, line: int) -> "Example":
        """The same example, standing at `file:line`."""
        return replace(self, file=file, line=line)

    def to_dict(self) -> dict[str, Any]:
        """The content without the place: equal for equal rows."""
        if self.columns:
            return {**replace(self, columns={}).to_dict(), "columns": dict(self.columns)}
        if self.answers:
            margin = {} if self.margin is None else {"margin": self.margin}
            compared = {"answers": [answer.to_dict() for answer in self.answers], "ranks": list(self.ranks)}
            return {**self.asked().to_dict(), **compared, **margin}
        if self.kind == "labelled":
            pair = {"text_pair": self.text_pair} if self.text_pair is not None else {}
            return {"text": self.text, **pair, "label": self.label}
        if self.kind == "text":
            return {"text": self.text}
        if self.kind == "completion":
            return {"prompt": self.prompt, "completion": self.completion}
        tools = {"tools": list(self.tools)} if self.tools else {}
        return {"messages": [message.to_dict() for message in self.messages], **tools}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], file: str = "", line: int = 0) -> "Example":
        """The inverse of `to_dict`."""
        given = dict(content)
        turns = {
            name: tuple(
                Message(**{**message, "tool_calls": tuple(message.get("tool_calls", ()))})
                for message in given.pop(name, ())
            )
            for name in ("messages", "answers")
        }
        tools, ranks = tuple(given.pop("tools", ())), tuple(given.pop("ranks", ()))
        return cls(**turns, tools=tools, ranks=ranks, file=file, line=line, **given)

    def asked(self) -> "Example":
        """Of compared answers, or of a row with other columns: what is asked, alone."""
        return replace(self, answers=(), ranks=(), margin=None, columns={})

    def answered(self, number: int) -> "Example":
        """Of compared answers: one of them behind what it answers, and nothing else to learn."""
        answer = self.answers[number]
        if self.prompt is not None:
            return replace(self.asked(), completion=answer.content)
        given = [replace(turn, train=False if turn.role == "assistant" else None) for turn in self.messages]
        return replace(self.asked(), messages=(*given, replace(answer, train=True)))

    def to_json(self) -> str:
        """`to_dict` as one line, keys in the row's order, which templates show.

        A lone surrogate, which no tokenizer takes, is a `RowError`.
        """
        text = json.dumps(self.to_dict(), ensure_ascii=False, separators=(",", ":"))
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            broken = f"\\u{ord(text[error.start]):04x}"
            raise RowError(f"half a character ({broken}) that is no valid Unicode text") from None
        return text


def digest(content: bytes) -> int:
    """64 bits of BLAKE2b of a row's content: equal rows share it."""
    return int.from_bytes(blake2b(content, digest_size=8).digest(), "little")
