"""What a person sees of runs that take turns: one display that counts the steps of all, evaluations with their run."""

from collections.abc import Callable, Sequence
from typing import Any

from accorda.training.progress import numbers
from accorda.training.run import Show

Watch = Callable[[int], Show]


def watched_together(names: Sequence[str], watch: Watch | None, tell: Callable[[str], None]) -> dict[str, Watch | None]:
    """A watch for each run; a run by itself has the display for itself."""
    if watch is None or not names[1:]:
        return dict.fromkeys(names, watch)
    chorus = Chorus(len(names), watch, tell)
    return {name: chorus.voice(name) for name in names}


class Chorus:
    """Opens the display when all runs have said how many steps they have, and hands it the steps of all."""

    def __init__(self, number: int, watch: Watch, tell: Callable[[str], None]) -> None:
        self.missing, self.watch, self.tell = number, watch, tell
        self.num_steps, self.done = 0, 0
        self.display: Show | None = None

    def voice(self, name: str) -> Watch:
        """The watch of one run."""

        def begun(num_steps: int) -> Show:
            self.num_steps += num_steps
            self.missing -= 1
            return lambda event: self.show(name, event)

        return begun

    def show(self, name: str, event: dict[str, Any]) -> None:
        """One event of one run."""
        if event["event"] == "step":
            self.done += 1
            if self.display is None and not self.missing:
                self.display = self.watch(self.num_steps)
            if self.display is not None:
                self.display({**event, "step": self.done})
        elif event["event"] == "evaluation":
            self.tell(f"{name}, step {event['step']}: {'  '.join(numbers(event))}")
        elif event["event"] == "resumed":
            self.done += event["from"]
            self.tell(f"{name}: resumed from step {event['from']}")
