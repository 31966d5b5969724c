"""{"prompt", "chosen", "rejected"}: of two answers the one that people preferred, and the other.

Both are texts, messages or lists of messages; the prompt is a text or a list of messages, alpaca's instruction and
input, or implicit: what both sides begin with. Of texts of Anthropic's HH-RLHF that is everything through the last
line "Assistant:" they share; of other texts, up to the word in which they first differ. `margin`: by how much the
chosen one should win, for a reward model.
"""

from typing import Any

from accorda.data.example import Example, Message, RowError
from accorda.data.formats.fields import Row, kind_of
from accorda.data.preferences.formats.parts import ASKED, Asked, answer_of, asked, one_answer

FIELDS = KEYS = ("chosen", "rejected")
OPTIONAL = (*ASKED, "margin")
RANKS = (0, 1)
SPEAKS = "\n\nAssistant:"


def detect(row: Row) -> bool:
    """Both columns, of one type."""
    return any(all(isinstance(row.get(name), kind) for name in KEYS) for kind in (str, list, dict))


def parse(row: Row) -> Example:
    """The pair; a `RowError` where what was asked cannot be told."""
    chosen, rejected = (_side(row, name) for name in KEYS)
    if isinstance(row["chosen"], str) != isinstance(row["rejected"], str):
        raise RowError("of chosen and rejected one is a text and one is messages")
    whole = [side[0].role != "assistant" for side in (chosen, rejected)]
    if any(whole):
        question, chosen, rejected = _common(row, chosen, rejected)
    elif (found := asked(row)) is not None:
        question = found if found.text is None or isinstance(row["chosen"], str) else _said(found)
    elif isinstance(row["chosen"], str):
        text = shared(row["chosen"], row["rejected"])
        question = Asked(text)
        chosen, rejected = ((Message(role="assistant", content=row[name][len(text) :]),) for name in KEYS)
    else:
        raise RowError("nothing says what was asked: no column prompt, and chosen and rejected hold answers alone")
    answers = [one_answer(side, name) for side, name in zip((chosen, rejected), KEYS, strict=True)]
    return question.compared(row, answers, RANKS, margin_of(row.get("margin")))


def shared(chosen: str, rejected: str) -> str:
    """The prompt that both texts begin with; a `RowError` where there is none."""
    both = zip(chosen, rejected, strict=False)
    same = next((at for at, (one, other) in enumerate(both) if one != other), min(len(chosen), len(rejected)))
    if (speaks := chosen.rfind(SPEAKS, 0, same)) >= 0:
        return chosen[: speaks + len(SPEAKS)]
    space = next((at for at in range(min(same, len(chosen) - 1), 0, -1) if chosen[at].isspace()), 0)
    if not chosen[:space].strip() or chosen[:space] != rejected[:space]:
        raise RowError(
            "nothing says what was asked: no column prompt, and chosen and rejected begin differently; "
            "map it with --column prompt=COLUMN"
        )
    return chosen[:space]


def margin_of(value: Any) -> float | None:
    """A number, or nothing."""
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")):
        return None if value is None else float(value)
    raise RowError(f"'margin' is {kind_of(value)}, not a finite number")


def _side(row: Row, name: str) -> tuple[Message, ...]:
    if row.get(name) is None:
        raise RowError(f"no {name!r}")
    return answer_of(row[name], name)


def _said(question: Asked) -> Asked:
    """A prompt's text beside answers that are messages: what a user said."""
    return Asked(turns=(Message(role="user", content=question.text or ""),))


def _common(
    row: Row, chosen: tuple[Message, ...], rejected: tuple[Message, ...]
) -> tuple[Asked, tuple[Message, ...], tuple[Message, ...]]:
    """Whole conversations cut at the last turn, up to which they are one; a prompt beside them must be in them."""
    before = chosen[:-1]
    if before != rejected[:-1]:
        raise RowError("chosen and rejected differ before their last messages")
    prompt = row.get("prompt")
    if isinstance(prompt, str) and prompt.strip() not in (turn.content.strip() for turn in before):
        raise RowError("chosen and rejected are whole conversations, and 'prompt' is none of their messages")
    return Asked(turns=before), chosen[-1:], rejected[-1:]
