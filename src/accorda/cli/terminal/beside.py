"""Several answers side by side while they are written."""

from collections.abc import Sequence
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from accorda.cli.terminal.talk import printable
from accorda.serving.chat.answer import Answer


def beside(answers: Sequence[Answer], out: TextIO) -> None:
    """A column for each, every one a token ahead in turn; Ctrl-C stops them all and keeps what was said."""
    texts = [""] * len(answers)
    with Live(console=Console(file=out), auto_refresh=False, vertical_overflow="visible") as live:
        try:
            running = {place: iter(answer) for place, answer in enumerate(answers)}
            while running:
                for place, pieces in list(running.items()):
                    piece = next(pieces, None)
                    if piece is None:
                        del running[place]
                    texts[place] += piece or ""
                live.update(columns(answers, texts), refresh=True)
        except KeyboardInterrupt:
            for place, answer in enumerate(answers):
                answer.stop()
                texts[place] = answer.completion.text
            live.update(columns(answers, texts), refresh=True)


def columns(answers: Sequence[Answer], texts: Sequence[str]) -> Table:
    """The answers as they stand, under the names of who gives them."""
    table = Table.grid(expand=True, padding=(0, 2))
    for _ in answers:
        table.add_column(ratio=1, overflow="fold")
    table.add_row(*(Text(answer.voice.name, style="bold") for answer in answers))
    table.add_row(*(Text(printable(text)) for text in texts))
    return table
