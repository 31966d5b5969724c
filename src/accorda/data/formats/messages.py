"""{"messages": [{"role", "content", ...}]}: OpenAI's and Hugging Face's conversations, with tools and reasoning."""

from collections.abc import Mapping
from typing import Any

from accorda.data.example import ROLES, Example, Message, RowError
from accorda.data.formats.fields import Row, as_text, kind_of, objects
from accorda.data.formats.tools import calls, schemas

FIELDS = COLUMNS = ("messages", "conversations")
KEYS = ("messages",)
OPTIONAL = ("tools", "system")
NAMES = {"human": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant", "prompter": "user"} | {
    "developer": "system",
    "function": "tool",
    "ipython": "tool",
}
EXTRA = ("name", "tool_call_id")


def detect(row: Row) -> bool:
    """A list of turns that have a role."""
    return has_turns(row.get(column(row, "role")), "role")


def has_turns(value: object, key: str) -> bool:
    """Whether the value is a list of objects, the first with `key`."""
    return isinstance(value, list) and bool(value) and isinstance(value[0], Mapping) and key in value[0]


def column(row: Row, key: str) -> str:
    """The column whose turns have `key`; failing that, one that is there and can be complained about."""
    found = [name for name in COLUMNS if has_turns(row.get(name), key)] or [name for name in COLUMNS if name in row]
    return found[0] if found else COLUMNS[0]


def parse(row: Row) -> Example:
    """The conversation; a `system` column becomes its first turn."""
    found = turns(row)
    system = row.get("system")
    if system:
        found = (Message(role="system", content=as_text(system, "system")), *found)
    return Example(messages=found, tools=schemas(row))


def turns(row: Row) -> tuple[Message, ...]:
    """The messages of the row's first column of turns."""
    name = column(row, "role")
    return tuple(_message(message, f"{name}[{number}]") for number, message in enumerate(objects(row, name)))


def _message(message: Row, at: str) -> Message:
    role = message.get("role")
    role = NAMES.get(role, role) if isinstance(role, str) else role
    if role not in ROLES:
        raise RowError(f"{at}.role is {role!r}, not one of {', '.join(ROLES)}")
    raw_calls = message.get("tool_calls") or message.get("function_call")
    reasoning = message.get("reasoning_content", message.get("reasoning", message.get("thinking")))
    return Message(
        role=role,
        content=content(message.get("content"), f"{at}.content"),
        reasoning=None if reasoning is None else as_text(reasoning, f"{at}.reasoning_content"),
        tool_calls=calls(raw_calls) if raw_calls else (),
        extra={name: message[name] for name in EXTRA if isinstance(message.get(name), str)},
        train=switch(message, role, at),
    )


def content(value: object, at: str) -> str:
    """The text of a message; a list of text parts is joined, other parts (images, sound) are refused."""
    if value is None:
        return ""
    if not isinstance(value, list):
        return as_text(value, at)
    return "".join(_part(part, at) for part in value)


def _part(part: Any, at: str) -> str:
    if isinstance(part, Mapping) and part.get("type", "text") == "text" and isinstance(part.get("text"), str):
        return part["text"]
    name = part.get("type") if isinstance(part, Mapping) else kind_of(part)
    raise RowError(f"{at} has a part that is no text ({name})")


def switch(message: Row, role: str, at: str) -> bool | None:
    """The message's own say in what is learned: `train` (true or false) or OpenAI's `weight` (0 or 1)."""
    train, weight = message.get("train"), message.get("weight")
    if train is None and weight is not None:
        if weight not in (0, 1):
            raise RowError(f"{at}.weight is {weight!r}, not 0 or 1")
        train = bool(weight)
    if train is not None and not isinstance(train, bool):
        raise RowError(f"{at}.train is {train!r}, not true or false")
    if train and role != "assistant":
        raise RowError(f"{at}.train is true, but only assistant turns are learned, not {role} turns")
    return train
