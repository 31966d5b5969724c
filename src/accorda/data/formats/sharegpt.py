"""{"conversations": [{"from", "value"}]}: ShareGPT's turns, with function calls and their observations."""

from accorda.data.example import Example, Message, RowError
from accorda.data.formats.fields import Row, objects, parsed
from accorda.data.formats.fields import text as text_of
from accorda.data.formats.messages import COLUMNS, column, has_turns, switch
from accorda.data.formats.tools import calls, schemas

FIELDS = COLUMNS
KEYS = ("conversations",)
OPTIONAL = ("tools", "system")
ROLES = {
    "human": "user",
    "user": "user",
    "prompter": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "system": "system",
    "tool": "tool",
    "observation": "tool",
    "function_response": "tool",
    "function_call": "assistant",
}


def detect(row: Row) -> bool:
    """A list of turns that say whom they are from."""
    return has_turns(row.get(column(row, "from")), "from")


def parse(row: Row) -> Example:
    """The conversation; a `system` column becomes its first turn, `function_call` turns become tool calls."""
    name = column(row, "from")
    found = [_message(turn, f"{name}[{number}]") for number, turn in enumerate(objects(row, name))]
    if row.get("system"):
        found.insert(0, Message(role="system", content=text_of(row, "system")))
    return Example(messages=tuple(found), tools=schemas(row))


def _message(turn: Row, at: str) -> Message:
    source = turn.get("from")
    role = ROLES.get(source.lower()) if isinstance(source, str) else None
    if role is None:
        raise RowError(f"{at}.from is {source!r}, not one of {', '.join(ROLES)}")
    value = turn.get("value")
    if not isinstance(value, str):
        raise RowError(f"{at}.value is not text")
    train = switch(turn, role, at)
    if source == "function_call":
        return Message(role=role, tool_calls=calls(parsed(value, f"{at}.value")), train=train)
    return Message(role=role, content=value, train=train)
