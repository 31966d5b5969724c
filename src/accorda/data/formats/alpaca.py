"""{"instruction", "input", "output"}: Stanford Alpaca's tasks, with `system` and `history` as others added them."""

from accorda.data.example import Example, Message, RowError
from accorda.data.formats.fields import Row, kind_of, optional_text, text

FIELDS = KEYS = ("instruction", "output")
OPTIONAL = ("input", "system", "history")


def detect(row: Row) -> bool:
    """An instruction and an output."""
    return isinstance(row.get("instruction"), str) and isinstance(row.get("output"), str)


def parse(row: Row) -> Example:
    """A conversation: instruction and input as the user's turn, a blank line between, the output as the answer."""
    output = text(row, "output")
    if not output.strip():
        raise RowError("empty output")
    system = optional_text(row, "system")
    turns = [Message(role="system", content=system)] if system else []
    for question, answer in history(row):
        turns += [Message(role="user", content=question), Message(role="assistant", content=answer)]
    instruction, task_input = text(row, "instruction"), optional_text(row, "input")
    asked = Message(
        role="user",
        content=f"{instruction}\n\n{task_input}" if task_input else instruction,
        extra={"instruction": instruction, **({"input": task_input} if task_input else {})},
    )
    return Example(messages=(*turns, asked, Message(role="assistant", content=output)))


def history(row: Row) -> list[tuple[str, str]]:
    """Earlier turns as pairs of question and answer."""
    pairs = row.get("history") or []
    if not isinstance(pairs, list):
        raise RowError(f"'history' is {kind_of(pairs)}, not a list of pairs")
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(side, str) for side in pair):
            raise RowError("'history' has an entry that is no pair of texts")
    return [(pair[0], pair[1]) for pair in pairs]
