"""Conversations as rows of a file that `sft` can train on, and back."""

import json
from collections.abc import Sequence
from pathlib import Path

from accorda.data.example import BadRow, Example, Kind, Message, RowError
from accorda.data.formats.registry import choose
from accorda.data.read import read_file
from accorda.errors import Refusal
from accorda.runs.files import write_text
from accorda.serving.chat.history import History

ENDING = ".jsonl"


def save(history: History, kind: Kind, path: Path) -> int:
    """Write the answered part of a conversation; how many rows that made.

    One row of messages, or, where every message is a prompt of its own, a row per question.

    Raises:
        Refusal: nothing was answered, an answer is empty, the file's name or place is wrong.
    """
    answered = history.exchanges()
    if not answered:
        raise Refusal("/save: nothing was answered yet")
    empty = [number for number, (_, answer) in enumerate(answered, start=1) if not answer.strip()]
    if empty:
        raise Refusal(f"/save: answer {empty[0]} is empty, and no run learns from that; /undo or /edit it first")
    if path.suffix != ENDING:
        raise Refusal(f"/save {path}: name a file that ends in {ENDING}, which train can read")
    if not path.absolute().parent.is_dir():
        raise Refusal(f"/save {path}: no folder {path.parent}")
    rows: list[dict[str, object]] = [{"prompt": question, "completion": answer} for question, answer in answered]
    if kind == "messages":
        ends = max(at for at, message in enumerate(history.messages) if message.role == "assistant")
        rows = [{"messages": [message.to_dict() for message in history.messages[: ends + 1]]}]
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return len(rows)


def load(path: Path, number: int, kind: Kind) -> tuple[list[Message], int]:
    """The messages of a file's row `number`, counted from 1, or of all its prompts; and how many rows there are.

    Raises:
        Refusal: no such file or row, or one that is no conversation.
    """
    if not path.is_file():
        raise Refusal(f"/load {path}: no such file")
    examples = _examples(path)
    if kind != "messages":
        return [message for example in examples for message in _messages(example, path)], len(examples)
    if not 1 <= number <= len(examples):
        raise Refusal(f"/load {path} {number}: the file has {len(examples)} rows")
    return _messages(examples[number - 1], path), len(examples)


def _examples(path: Path) -> list[Example]:
    found, mapped = [], None
    for shown, line, row in read_file(path, str(path)):
        if isinstance(row, BadRow):
            raise Refusal(str(row))
        mapped = mapped or choose(row, f"{shown}:{line}")
        try:
            found.append(mapped.parse(row).at(shown, line))
        except RowError as error:
            raise Refusal(f"{shown}:{line}: {error}") from None
    return found


def _messages(example: Example, path: Path) -> list[Message]:
    if example.kind == "text":
        raise Refusal(f"{path}:{example.line}: plain text, not a conversation")
    if example.kind == "messages":
        return list(example.messages)
    said = (("user", example.prompt), ("assistant", example.completion))
    return [Message(role=role, content=text) for role, text in said if text is not None]


def texts(messages: Sequence[Message]) -> str:
    """A conversation for people to read."""
    return "\n\n".join(f"{message.role}: {message.content}" for message in messages)
