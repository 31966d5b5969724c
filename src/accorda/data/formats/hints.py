"""What a refusal suggests for rows whose format nobody knows."""

from collections.abc import Mapping
from typing import Any

Row = Mapping[str, Any]
PROMPTS = ("prompt", "question", "instruction", "query", "input", "problem", "source", "context", "title")
COMPLETIONS = ("completion", "response", "answer", "output", "target", "solution", "reply", "best answer", "chosen")
TEXTS = ("content", "document", "body", "story", "sentence", "article")


def suggestion(row: Row) -> str:
    """The `--column` options that probably fit, from the names of the columns that hold text."""
    texts = [name for name, value in row.items() if isinstance(value, str)]
    prompt, completion = first(texts, PROMPTS), first(texts, COMPLETIONS)
    if prompt and completion and prompt != completion:
        return f"--column {quoted('prompt', prompt)} --column {quoted('completion', completion)}"
    turns = [name for name, value in row.items() if _turns(value)]
    if turns:
        return f"--column {quoted('messages', turns[0])}"
    text = first(texts, TEXTS) or (texts[0] if len(texts) == 1 and has_words(row[texts[0]]) else None)
    if text:
        return f"--column {quoted('text', text)}"
    return "--column prompt=COLUMN --column completion=COLUMN (or text=COLUMN, messages=COLUMN)"


def feedback(row: Row) -> str | None:
    """Why rows that hold judgements must not be trained on as if every answer were good; None for other rows."""
    if "chosen" in row and "rejected" in row:
        return (
            "preference rows (chosen, rejected) are for stage: preference; to learn one of them, map it with --column"
        )
    if isinstance(row.get("label"), bool) and ("messages" in row or "completion" in row):
        return (
            "thumbs up and down (a true/false label): they are for stage: preference; to learn all, map with --column"
        )
    return None


def _turns(value: object) -> bool:
    first = value[0] if isinstance(value, list) and value else None
    return isinstance(first, Mapping) and bool({"role", "from"} & set(first))


def first(names: list[str], wanted: tuple[str, ...]) -> str | None:
    """The first of the wanted names that there is, in whatever case."""
    by_lower = {name.lower(): name for name in reversed(names)}
    return next((by_lower[name] for name in wanted if name in by_lower), None)


def has_words(value: object) -> bool:
    """Whether a value is text that is no number: a table holds numbers as text, too."""
    return isinstance(value, str) and any(character.isalpha() for character in value)


def is_prose(value: object) -> bool:
    """Whether a value looks like something that somebody wrote, and not like a number, a name or a mark."""
    return isinstance(value, str) and has_words(value) and (len(value.split()) > 1 or value.strip()[-1] in ".!?")


def quoted(field: str, column: str) -> str:
    """A `--column` value, in quotes where the shell wants them."""
    return f"{field}={column}" if column.isidentifier() else f"'{field}={column}'"
