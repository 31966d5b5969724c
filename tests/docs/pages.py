"""The command blocks of the pages, and how to run them.

Blocks fenced with ```sh are commands, those with ```python are run as they are. A comment directly above one says what
else there is to know of it:

    <!-- not run: REASON -->    the block is not run; the reason is printed
    <!-- exits N -->            its last command ends with N, not 0; a ```output block that follows is its last line
    <!-- given ... -->          shell lines that make what the block is about, run before it
"""

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from accorda.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
SHELL = re.compile(r"[|<>;&$`*]|\n")
SHORT = {  # added to commands that would take long; what a page says itself stays
    "train": (
        "training.max_steps=2",
        "training.batch_size=4",
        "data.limit=40",
        "training.threads=1",
        "evaluation.samples=1",
    ),
    "eval": ("--limit", "4"),
    "generate": ("--max-new-tokens", "8"),
    "demo": ("training.max_steps=2", "training.threads=1", "evaluation.samples=1", "--limit", "4"),
}
OF_TEXTS = ("--max-new-tokens", "8")
"""Added to `eval` with metrics, which on the pages are those of texts; where none are written it would be refused."""


@dataclass
class Block:
    """One block: where it stands, its text, and what its comments say."""

    line: int
    language: str
    text: str
    skip: str = ""
    given: str = ""
    code: int = 0
    shown: str = ""

    def commands(self) -> list[str]:
        """Its commands, one a line; lines that end with a backslash are joined, and a here-document is one."""
        if self.language == "python" or "<<" in self.text:
            return [self.text]
        lines = [line.strip() for line in self.text.replace("\\\n", " ").splitlines()]
        return [line for line in lines if line and not line.startswith("#")]


PIECES = re.compile(r"<!--(.*?)-->|^```(\w*)[^\n]*\n(.*?)^```|^\S[^\n]*$", re.DOTALL | re.MULTILINE)


def read(text: str) -> list[Block]:
    """The blocks of a page's text."""
    found: list[Block] = []
    comments: list[str] = []
    for piece in PIECES.finditer(text):
        said, language, inside = piece.groups()
        if said is not None:
            comments.append(said.strip())
            continue
        if language in ("sh", "python"):
            found.append(block(Block(text.count("\n", 0, piece.start()) + 1, language, inside), comments))
        elif language == "output":
            found[-1].shown = " ".join(inside.split())
        comments = []
    return found


def block(found: Block, comments: list[str]) -> Block:
    """A block with what the comments above it say."""
    for said in comments:
        if said.startswith("not run:"):
            found.skip = said.removeprefix("not run:").strip()
            assert found.skip, f"line {found.line}: not run, but why?"
        elif said.startswith("exits "):
            found.code = int(said.removeprefix("exits "))
        elif said.startswith("given\n"):
            found.given = said.removeprefix("given\n")
        else:
            raise AssertionError(f"line {found.line}: <!-- {said} --> says nothing that is known of a command")
    return found


def blocks(page: Path) -> list[Block]:
    """The command blocks of a page in their order."""
    return read(page.read_text(encoding="utf-8"))


def run_block(block: Block, scratch: Path) -> tuple[int, str]:
    """Run what is given and the commands to the first that fails; the last exit code and everything printed."""
    printed = ""
    for command in filter(None, [block.given, *block.commands()]):
        code, text = run(command, scratch) if block.language == "sh" else run_python(command)
        printed += text
        if code:
            break
    return code, printed


def run_python(text: str) -> tuple[int, str]:
    """Python as it stands on the page; an exception is a failure."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        exec(compile(text, "page", "exec"), {})
    return 0, printed.getvalue()


def run(command: str, scratch: Path) -> tuple[int, str]:
    """Exit code and what was printed. Plain accorda commands run in this process, anything else in a shell."""
    if command.startswith("accorda ") and not SHELL.search(command):
        return run_here(shortened(shlex.split(command)[1:]))
    environment = os.environ | {"PATH": f"{scratch / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command], capture_output=True, text=True, check=False, env=environment
    )
    return done.returncode, done.stdout + done.stderr


def run_here(arguments: list[str]) -> tuple[int, str]:
    """The same without the seconds that a new process takes to import torch."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        code = main(arguments)
    return code, printed.getvalue()


def shortened(arguments: list[str]) -> list[str]:
    """The arguments with what makes a long command short; a command that is refused stays as it is."""
    if "--dry-run" in arguments or arguments[0] not in SHORT:
        return arguments
    added = SHORT[arguments[0]] + (OF_TEXTS if arguments[0] == "eval" and "--metrics" in arguments else ())
    flags = [added[i : i + 2] for i in range(0, len(added), 2)] if any(item.startswith("--") for item in added) else []
    settings = () if flags else added
    names = {item.partition("=")[0] for item in arguments}
    return [
        *arguments,
        *(item for item in settings if item.partition("=")[0] not in names),
        *(part for pair in flags if pair[0] not in names for part in pair),
    ]


def shim(scratch: Path) -> None:
    """An `accorda` and a `python` for blocks that run in a shell."""
    (scratch / "bin").mkdir()
    for name, start in {"accorda": "-m accorda ", "python": "", "python3": ""}.items():
        path = scratch / "bin" / name
        path.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {start}"$@"\n')
        path.chmod(0o755)
