"""Parts of a long command shown as they come: headings on a terminal, a line each in a pipe and the rest at the end."""

import re
import sys
import textwrap
from dataclasses import dataclass, field

from rich.console import Console
from rich.rule import Rule
from rich.text import Text


@dataclass
class Scenes:
    """Collects what a command has to tell; on a terminal each part stands there as soon as it is known."""

    console: Console = field(default_factory=lambda: Console(stderr=True, highlight=False))
    told: list[str] = field(default_factory=list)

    @property
    def live(self) -> bool:
        """Whether somebody watches: progress and result both go to a terminal."""
        return self.console.is_terminal and sys.__stdout__ is not None and sys.__stdout__.isatty()

    def open(self, title: str, why: str = "") -> None:
        """A heading, and a sentence about what comes."""
        self.told.append(f"{title}\n{'-' * len(title)}" + (f"\n{why}" if why else ""))
        if self.console.is_terminal:
            self.console.print()
            self.console.print(Rule(Text(title, style="bold cyan"), align="left", style="cyan"))
            if why:
                self.console.print(Text(why, style="dim"))
        else:
            sys.stderr.write(f"{title}{f': {why}' if why else ''}\n")
            sys.stderr.flush()

    def tell(self, text: str) -> None:
        """A block of text, as it is."""
        self.told.append(text)
        if self.live:
            self.console.print()
            lines = "\n".join(fitted(line, self.console.width) for line in text.split("\n"))
            self.console.print(Text(lines), soft_wrap=True)

    def rest(self) -> str:
        """What standard output still has to carry: nothing that has been seen there already."""
        return "" if self.live else "\n\n".join(self.told)


def fitted(line: str, width: int) -> str:
    """A line broken between words where it is wider than the terminal; what follows stands below its last column."""
    if len(line) <= width:
        return line
    columns = [found.end() for found in re.finditer(r"\S(\s{2,})(?=\S)", line[: width // 2])]
    indent = "> " if line.startswith("> ") else " " * max(columns, default=0)
    return textwrap.fill(line, width, subsequent_indent=indent)
