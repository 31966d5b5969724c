"""A conversation at a terminal or through pipes: reads messages and commands, shows answers as they come."""

import contextlib
import os
import sys
from collections.abc import Sequence
from typing import Any, Protocol, TextIO, cast

from accorda.cli.terminal.typed import typed
from accorda.errors import Refusal
from accorda.recipe.words import shown
from accorda.serving.chat.answer import Answer
from accorda.serving.chat.chat import Chat
from accorda.serving.chat.commands import COMMANDS, Reply, obey

QUOTES = '"""'


class Place(Protocol):
    """Where a conversation takes place. `forgiving`: mistakes and Ctrl-C are told there, and it goes on."""

    forgiving: bool

    def line(self, prompt: str, before: str = "") -> str:
        """The next line; EOFError at the end. `before` is what the user may go on editing."""
        ...

    def remark(self, text: str) -> None:
        """Something that the model did not say."""
        ...

    def show(self, answers: Sequence[Answer]) -> None:
        """The answers, as they come."""
        ...


def talk(chat: Chat, place: Place) -> None:
    """Everything until the user leaves.

    Raises:
        Refusal: a message or command that cannot be obeyed, where nobody is there to try again.
    """
    if place.forgiving:
        place.remark("/help lists what can be done here; Ctrl-D leaves")
    for line in chat.opening():
        place.remark(line)
    while True:
        try:
            text = message(place)
            if text.strip() and turn(chat, place, text):
                return
        except EOFError:
            return
        except (Refusal, KeyboardInterrupt) as error:
            if not place.forgiving:
                raise
            place.remark("Ctrl-D or /quit leaves" if isinstance(error, KeyboardInterrupt) else f"error: {error}")


def message(place: Place) -> str:
    r"""The next message or command: a line, lines joined by `\` at their ends, or what stands between triple quotes.

    Raises:
        Refusal: it ends before it is whole, or something stands behind the closing quotes.
    """
    line = place.line("> ")
    try:
        if line.strip().startswith(QUOTES):
            text = line.strip().removeprefix(QUOTES)
            while QUOTES not in text:
                text += "\n" + place.line("  ")
            text, _, behind = text.partition(QUOTES)
            if behind.strip():
                raise Refusal(f"{shown(behind.strip())}: stands behind the closing {QUOTES}; say it in front or apart")
            return text.strip("\n")
        while line.endswith("\\"):
            line = line[:-1] + "\n" + place.line("  ")
    except EOFError:
        raise Refusal(f"the last message is not finished: {QUOTES} or a line behind \\ is missing") from None
    return line


def turn(chat: Chat, place: Place, text: str) -> bool:
    """One message or command; whether the user leaves with it. A refusal leaves the conversation as it was."""
    if text.strip() == "/edit" and place.forgiving:
        text = "/edit " + place.line("> ", chat.history.question)
    with chat.history.unless_refused():
        if text.startswith("/") and not text.startswith("//"):
            reply = obey(chat, text)
        else:
            chat.history.ask(text.removeprefix("/"))
            reply = Reply(answer=True)
        if reply.text:
            place.remark(reply.text)
        answers = chat.answers() if reply.answer else []
    if answers:
        for remark in answers[-1].before():
            place.remark(remark)
        place.show(answers)
        chat.keep(answers)
        for answer in answers:
            for remark in answer.after():
                place.remark(f"{answer.voice.name}: {remark}" if len(answers) > 1 else remark)
    return reply.leave


class Piped:
    """Lines of standard input; answers alone on standard output, or with `silent` nowhere, and remarks beside."""

    forgiving = False

    def __init__(self, silent: bool = False):
        self.silent = silent
        self.out = cast(TextIO, sys.__stdout__)

    def line(self, prompt: str, before: str = "") -> str:
        """The next line of standard input."""
        line = typed(sys.stdin.readline)
        if not line:
            raise EOFError
        return line.removesuffix("\n").removesuffix("\r")

    def remark(self, text: str) -> None:
        """On standard error."""
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()

    def show(self, answers: Sequence[Answer]) -> None:
        """Each answer on lines of its own; of several, each behind the name of who gives it."""
        for answer in answers:
            if len(answers) > 1:
                self._write(f"{answer.voice.name}: ")
            for piece in answer:
                self._write(piece)
            self._write("\n")

    def _write(self, text: str) -> None:
        if not self.silent:
            self.out.write(text)
            self.out.flush()


class Terminal:
    """A person at a terminal: line editing, Ctrl-C stops an answer, two answers stand side by side."""

    forgiving = True

    def __init__(self) -> None:
        self.out = cast(TextIO, sys.__stdout__)
        self.plain = "NO_COLOR" in os.environ
        self.readline = line_editing()

    def line(self, prompt: str, before: str = "") -> str:
        """The next line, edited by the user."""
        if self.readline is not None:
            self.readline.set_startup_hook(lambda: self.readline.insert_text(before))
        with contextlib.redirect_stdout(self.out):  # `input` edits lines only where the output is the terminal's
            try:
                return typed(lambda: input(prompt))
            except EOFError:
                self.out.write("\n")
                raise

    def remark(self, text: str) -> None:
        """Dimmed."""
        text = printable(text)
        self.out.write(f"{text}\n" if self.plain else f"\x1b[2m{text}\x1b[0m\n")
        self.out.flush()

    def show(self, answers: Sequence[Answer]) -> None:
        """One answer as it comes; several side by side."""
        if len(answers) > 1:
            from accorda.cli.terminal.beside import beside

            beside(answers, self.out)
            return
        (answer,), shown = answers, 0
        try:
            for piece in answer:
                self._write(piece)
                shown += len(piece)
        except KeyboardInterrupt:  # the user has heard enough
            answer.stop()
        self._write(answer.completion.text[shown:] + "\n")

    def _write(self, text: str) -> None:
        self.out.write(printable(text))
        self.out.flush()


def printable(text: str) -> str:
    """The text without what would command the terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def line_editing() -> Any:
    """Python's readline with the commands for the tabulator key; None where Python has none."""
    try:
        import readline
    except ImportError:
        return None
    names = [f"/{name}" for name in COMMANDS]

    def complete(text: str, state: int) -> str | None:
        return next(iter([name for name in names if name.startswith(text)][state:]), None) if text[:1] == "/" else None

    readline.set_completer_delims(" ")
    readline.set_completer(complete)
    readline.parse_and_bind("tab: complete")
    return readline
