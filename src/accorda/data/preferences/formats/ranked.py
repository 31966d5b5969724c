"""{"prompt", "completions", "ranks"}: K answers to one prompt in the order that people put them in.

`ranks`: a number per answer, the lowest is best, equal ones are ties; or `scores`, of which the highest is best.
"""

from accorda.data.example import Example, RowError
from accorda.data.formats.fields import Row, kind_of
from accorda.data.preferences.formats.parts import ASKED, answer_of, asked, one_answer

FIELDS = KEYS = ("completions",)
OPTIONAL = ("ranks", "scores", *ASKED)


def detect(row: Row) -> bool:
    """Several answers, and what was thought of them."""
    return isinstance(row.get("completions"), list) and any(isinstance(row.get(n), list) for n in ("ranks", "scores"))


def parse(row: Row) -> Example:
    """The ranking; a `RowError` where no answer is above another."""
    given, question = row.get("completions"), asked(row)
    if not isinstance(given, list) or len(given) < 2:
        raise RowError("'completions' is no list of two answers or more")
    if question is None:
        raise RowError("no column prompt says what was asked")
    name = "ranks" if row.get("ranks") is not None else "scores"
    places = places_of(row.get(name), len(given), name)
    answers = [
        one_answer(answer_of(value, f"completions[{at}]"), f"completions[{at}]") for at, value in enumerate(given)
    ]
    return question.compared(row, answers, places)


def places_of(values: object, number: int, name: str) -> tuple[int, ...]:
    """Ranks from 0, without gaps."""
    if not isinstance(values, list) or len(values) != number:
        raise RowError(f"{name!r} is {kind_of(values)}, not a list of {number} numbers")
    if not all(isinstance(value, int | float) and not isinstance(value, bool) and value == value for value in values):
        raise RowError(f"{name!r} holds something that is no number")
    if len(set(values)) == 1:
        raise RowError(f"no answer is above another: {name!r} are all {values[0]}")
    ordered = sorted(set(values), reverse=name == "scores")
    return tuple(ordered.index(value) for value in values)
