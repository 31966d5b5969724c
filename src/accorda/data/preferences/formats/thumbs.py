"""{"prompt", "completion", "label"}: one answer, and whether it was liked.

{"messages", "label"}: what was thought of a conversation's last turn.
"""

from accorda.data.example import Example, Message, RowError
from accorda.data.formats.fields import Row
from accorda.data.preferences.formats.parts import ASKED, Asked, answer_of, asked, one_answer, turns_of

FIELDS = KEYS = ("label",)
OPTIONAL = ("completion", *ASKED)
LIKED = {True: 0, False: 1}
WORDS = {"true": True, "1": True, "false": False, "0": False}


def detect(row: Row) -> bool:
    """A label that says yes or no, and an answer."""
    return liked(row.get("label")) is not None and ("completion" in row or "messages" in row or "conversations" in row)


def parse(row: Row) -> Example:
    """The answer with its thumb, up or down."""
    thumb = liked(row.get("label"))
    if thumb is None:
        raise RowError(f"the label is {row.get('label')!r}, not true or false")
    if row.get("completion") is None:
        question, answer = _last(row)
    else:
        question, answer = asked(row), answer_of(row["completion"], "completion")
        if question is None:
            raise RowError("no column prompt says what was asked")
        if question.text is not None and not isinstance(row["completion"], str):
            raise RowError("'completion' holds messages and 'prompt' a text: both are texts, or both messages")
    return question.compared(row, [one_answer(answer, "completion")], [LIKED[thumb]])


def liked(value: object) -> bool | None:
    """What a label says; None where it says neither yes nor no."""
    return WORDS.get(str(value).strip().lower()) if isinstance(value, bool | int | str) else None


def _last(row: Row) -> tuple[Asked, tuple[Message, ...]]:
    name = next((name for name in ("messages", "conversations") if row.get(name) is not None), None)
    if name is None:
        raise RowError("no answer: neither completion nor messages")
    turns = turns_of(row[name], name)
    return Asked(turns=turns[:-1]), turns[-1:]
