"""Progress on standard error while a run goes."""

import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any

from accorda.errors import Refusal

Show = Callable[[dict[str, Any]], None]


class Watching:
    """Called with the number of steps when they begin, it opens the display; leaving it closes the display."""

    def __init__(self) -> None:
        self.display: Any = None
        self.began = False

    def prepare(self, line: str) -> None:
        """What goes on before the first step, for a person who waits."""
        if sys.stderr.isatty():
            self.tell(f"{line} ...")

    def __call__(self, num_steps: int) -> Show:
        """The display of a run of that many steps."""
        from accorda.training.progress import Display

        self.close()
        self.began = True
        self.display = Display(num_steps, sys.stderr)
        return self.display

    def __enter__(self) -> "Watching":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if isinstance(error, KeyboardInterrupt) and not self.began:
            raise Refusal("interrupted before the first step; nothing was written") from error

    def close(self) -> None:
        """Close the display of the run that is over."""
        if self.display is not None:
            self.display.close()

    @staticmethod
    def tell(line: str) -> None:
        """A line beside the displays, as a sweep goes from run to run."""
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
