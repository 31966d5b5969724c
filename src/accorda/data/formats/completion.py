"""{"prompt": ..., "completion": ...}: texts that are joined as they are, or two lists of messages."""

from dataclasses import replace

from accorda.data.example import Example, RowError
from accorda.data.formats import messages
from accorda.data.formats.fields import Row, text
from accorda.data.formats.tools import schemas

FIELDS = KEYS = ("prompt", "completion")
OPTIONAL = ("tools",)


def detect(row: Row) -> bool:
    """Both columns, of one type."""
    return any(all(isinstance(row.get(name), kind) for name in ("prompt", "completion")) for kind in (str, list))


def parse(row: Row) -> Example:
    """Prompt and completion; of two lists of messages the assistant turns of the prompt are not learned."""
    if isinstance(row.get("prompt"), list):
        given = [replace(turn, train=False if turn.role == "assistant" else None) for turn in turns(row, "prompt")]
        return Example(messages=(*given, *turns(row, "completion")), tools=schemas(row))
    prompt, completion = text(row, "prompt"), text(row, "completion")
    if not completion.strip():
        raise RowError("empty completion")
    return Example(prompt=prompt, completion=completion)


def turns(row: Row, name: str) -> tuple[messages.Message, ...]:
    """The messages of one of the two lists."""
    return messages.turns({"messages": row.get(name)})
