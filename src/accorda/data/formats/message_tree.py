"""{"message_tree_id", "prompt": {"text", "role", "replies": [...]}}: Open-Assistant's exported trees of ranked replies.

From a tree the best-ranked path is read: at every message its reply of the lowest rank, until a message has none that
counts. Köpf et al., 2023, OpenAssistant Conversations (arXiv:2304.07327) describe the trees; the path is what Guanaco
was tuned on (Dettmers et al., 2023, arXiv:2305.14314). Replies without a rank come after those that have one, in
their order. Deleted replies and ones that reviewers refused do not count; a question without an answer at the end is
left out.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from accorda.data.example import Example, Message, RowError
from accorda.data.formats.fields import Row

FIELDS = ("prompt",)
KEYS = ("message_tree_id", "prompt")
OPTIONAL = ("message_tree_id",)
ROLES = {"prompter": "user", "assistant": "assistant"}


def detect(row: Row) -> bool:
    """A first message that has replies."""
    root = row.get("prompt")
    return isinstance(root, Mapping) and "replies" in root


def parse(row: Row) -> Example:
    """The best-ranked path as a conversation."""
    turns = list(_path(row.get("prompt"), "prompt"))
    while turns and turns[-1].role != "assistant":
        turns.pop()
    if not turns:
        raise RowError("prompt has no reply to learn")
    return Example(messages=tuple(turns))


def _path(node: object, at: str) -> Iterator[Message]:
    while node is not None:
        if not isinstance(node, Mapping):
            raise RowError(f"{at} is not an object")
        role = ROLES.get(str(node.get("role")))
        if role is None:
            raise RowError(f"{at}.role is {node.get('role')!r}, not one of {', '.join(ROLES)}")
        text = node.get("text")
        if not isinstance(text, str):
            raise RowError(f"{at}.text is not text")
        yield Message(role=role, content=text)
        replies = node.get("replies", [])
        if not isinstance(replies, list):
            raise RowError(f"{at}.replies is not a list")
        node = min((reply for reply in replies if _counts(reply)), key=_rank, default=None)
        at = f"{at}.replies"


def _counts(reply: Any) -> bool:
    return not isinstance(reply, Mapping) or not (reply.get("deleted") or reply.get("review_result") is False)


def _rank(reply: Any) -> float:
    rank = reply.get("rank") if isinstance(reply, Mapping) else None
    return rank if isinstance(rank, int | float) else float("inf")
