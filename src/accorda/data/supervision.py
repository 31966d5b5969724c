"""Which assistant turns of a conversation are learned."""

from typing import Literal

from accorda.data.example import Example, RowError
from accorda.data.reasoning import Reasoning, read_only

Supervise = Literal["all", "last"]


def targets(example: Example, supervise: Supervise, reasoning: Reasoning) -> list[int]:
    """The numbers of the messages to learn; a `RowError` where there are none.

    Those that say so themselves (`train`), and of the silent ones all assistant turns, or the last.
    """
    turns = [number for number, message in enumerate(example.messages) if message.role == "assistant"]
    silent = turns if supervise == "all" else turns[-1:]
    says = {turn: example.messages[turn].train for turn in turns}
    found = [turn for turn in turns if (turn in silent if says[turn] is None else says[turn])]
    if not found:
        raise RowError("no assistant turn to learn from")
    unlearned = read_only(example.messages[: found[-1] + 1], reasoning)
    return [turn for turn in found if turn not in unlearned]


def asked(example: Example, supervise: Supervise, reasoning: Reasoning) -> int:
    """The message that the example asks for: its last learned answer, or the next one where it is still open."""
    if not example.messages or example.messages[-1].role != "assistant":
        return len(example.messages)
    try:
        return targets(example, supervise, reasoning)[-1]
    except RowError:
        return len(example.messages) - 1
