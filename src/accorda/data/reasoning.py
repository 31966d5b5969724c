"""What happens to the reasoning of assistant turns (`<think>...</think>`, or a field of its own) by `data.reasoning`.

- `keep`: it stays in every turn, and is learned.
- `drop_history`: it stays after the last question only, as a model sees it when it is asked. Turns whose own context
  held reasoning that is dropped here are read, not learned: nobody would ever ask for them in this shape.
- `none`: it is removed everywhere.
"""

import re
from collections.abc import Sequence
from typing import Any, Literal

from accorda.data.example import Message

Reasoning = Literal["keep", "drop_history", "none"]
THOUGHT = re.compile(r"\s*<think>(.*?)</think>\s*", re.DOTALL)


def thoughts(message: Message) -> bool:
    """Whether an assistant turn holds reasoning."""
    return message.role == "assistant" and bool(message.reasoning or THOUGHT.match(message.content))


def last_question(messages: Sequence[Message]) -> int:
    """The number of the last user turn, -1 where there is none."""
    return max((number for number, message in enumerate(messages) if message.role == "user"), default=-1)


def views(messages: Sequence[Message], reasoning: Reasoning, separate: bool) -> list[dict[str, Any]]:
    """The messages as templates read them. `separate`: the template reads reasoning apart from the content."""
    question = last_question(messages)
    return [
        _view(message, reasoning == "keep" or (reasoning == "drop_history" and number > question), separate)
        for number, message in enumerate(messages)
    ]


def _view(message: Message, keep: bool, separate: bool) -> dict[str, Any]:
    content, thought, apart = message.content, message.reasoning, {}
    inside = THOUGHT.match(content) if message.role == "assistant" else None
    if inside and (separate or not keep):
        content, thought = content[inside.end() :], thought or inside.group(1).strip()
    if thought and keep and separate:
        apart = {"reasoning_content": thought, "thinking": thought}
    elif thought and keep and not inside:
        content = f"<think>\n{thought}\n</think>\n\n{content}"
    calls = {"tool_calls": list(message.tool_calls)} if message.tool_calls else {}
    return {**message.extra, "role": message.role, "content": content, **apart, **calls}


def read_only(messages: Sequence[Message], reasoning: Reasoning) -> set[int]:
    """Assistant turns that `drop_history` takes out of what is learned."""
    if reasoning != "drop_history":
        return set()
    found, dropped = set[int](), False
    for number, message in enumerate(messages[: last_question(messages) + 1]):
        dropped = message.role != "user" and (dropped or thoughts(message))
        if dropped:
            found.add(number)
    return found


def parts(content: str) -> list[str]:
    """The texts a template must show for a content: reasoning and answer; it may reformat what is between."""
    found = THOUGHT.match(content)
    return [content] if not found else [found.group(1), content[found.end() :]]
