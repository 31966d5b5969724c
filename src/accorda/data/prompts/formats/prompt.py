"""{"prompt": ...}, a text or a list of messages; {"messages": [...]}; alpaca's {"instruction", "input"}.

An answer that the row brings (`completion`, `output`, or messages that end with an assistant's) is not learned: it is
the column `reference`. Every other column is kept under its own name, for the function that gives the reward.
"""

import json
from typing import Any

from accorda.data.example import Example, RowError
from accorda.data.formats.fields import Row
from accorda.data.preferences.formats.parts import ASKED, Asked, asked

KEYS = FIELDS = ("prompt",)
ANSWERS = ("completion", "output")
OPTIONAL = (*(name for name in ASKED if name not in FIELDS), *ANSWERS, "reference")
SPELLED = ("prompt", "messages", "conversations", "instruction")
"""Columns of which one says what is asked."""


def detect(row: Row) -> bool:
    """A prompt in one of its spellings."""
    return any(row.get(name) is not None for name in SPELLED)


def parse(row: Row) -> Example:
    """What is asked; its other columns beside it."""
    question = asked(row)
    if question is None:
        raise RowError(f"nothing is asked: none of {', '.join(SPELLED)} (it has {', '.join(row) or 'none'})")
    kept: dict[str, Any] = {}
    for name, value in row.items():
        if name not in ASKED:
            kept["reference" if name in ANSWERS else name] = plain(value)
    if question.text is None:
        question, answer = without_answer(question)
        kept |= {} if answer is None else {"reference": answer}
    elif not question.text.strip():
        raise RowError("empty prompt")
    return question.example(row, columns=kept)


def without_answer(question: Asked) -> tuple[Asked, str | None]:
    """The conversation up to its last question, and the answer behind it, if there is one."""
    turns = question.turns
    if turns and turns[-1].role == "assistant":
        return Asked(turns=turns[:-1]), turns[-1].content
    return question, None


def plain(value: Any) -> Any:
    """What JSON can hold of a column; dates and the like as text."""
    return json.loads(json.dumps(value, default=str))
