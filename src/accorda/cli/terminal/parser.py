"""Arguments of one verb: mistakes are one line that says what was meant, never argparse's dump."""

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from accorda.errors import Refusal
from accorda.recipe.words import choice, meant, shown


class Help(Exception):
    """`--help` was asked for; the text is the only argument."""


class ShowHelp(argparse.Action):
    """`--help`, as something a caller can catch."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        """Leave with the parser's help."""
        raise Help(parser.format_help())


class Formatter(argparse.HelpFormatter):
    """Help of one width, whatever the terminal."""

    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=30, width=110)


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are refusals. `others`: the verbs that a flag may have been meant for."""

    def __init__(self, verb: str, description: str, others: Sequence[str] = ()):
        self.others = others
        super().__init__(
            prog=f"accorda {verb}",
            description=description,
            formatter_class=Formatter,
            add_help=False,
            allow_abbrev=False,
        )
        self.add_argument("--json", action="store_true", help="one JSON object on standard output, nothing else")
        self.add_argument("--help", action=ShowHelp, nargs=0, help="this text")

    def error(self, message: str) -> NoReturn:
        """Refuse in our words.

        Raises:
            Refusal: always.
        """
        required = message.removeprefix("the following arguments are required: ")
        if required != message:
            raise Refusal(f"{required}: missing; {self.prog} --help tells what it is")
        raise Refusal(message.removeprefix("argument ").replace("\n", " "))

    def read(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parse; flags and other arguments may come in any order.

        Raises:
            Refusal: unknown flag, something missing, something too many.
        """
        known, rest = self.parse_known_intermixed_args(arguments)
        for extra in rest:
            if extra.startswith("-") and extra != "-":
                flag = extra.partition("=")[0]
                verb, way_out = flag.lstrip("-"), meant(flag, self._option_string_actions)
                if verb in self.others:
                    way_out = f"; there is a verb of that name: accorda {verb}"
                raise Refusal(f"{flag}: no such flag of {self.prog}{way_out}")
            raise Refusal(f"{shown(extra)}: one argument too many for {self.prog}")
        return known


def whole_number(least: int) -> Any:
    """An argument type: a whole number of at least `least`."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"{shown(text)} must be a whole number of at least {least}")
        if value >= 2**63:
            raise argparse.ArgumentTypeError(f"{shown(text)} is too large; the largest is {2**63 - 1:,}")
        return value

    return parse


def number(least: float, most: float = float("inf")) -> Any:
    """An argument type: a number between two bounds."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not least <= value <= most or value == float("inf"):
            limit = "" if most == float("inf") else f" and at most {most:g}"
            raise argparse.ArgumentTypeError(f"{shown(text)} must be a number of at least {least:g}{limit}")
        return value

    return parse


def one_of(*names: str) -> Any:
    """An argument type: one of the names."""

    def parse(text: str) -> str:
        if text not in names:
            raise argparse.ArgumentTypeError(f"{shown(text)}: no such choice{choice(text, names)}")
        return text

    return parse


def filled(text: str) -> str:
    """An argument type: text that is not empty. Bytes that are no UTF-8 come from the shell as lone surrogates."""
    if not text.strip():
        raise argparse.ArgumentTypeError("must not be empty")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError(f"{text!a} is not UTF-8 text") from None
    return text


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Whether code that comes with the model may run."""
    parser.add_argument("--trust-remote-code", action="store_true", help="run code that comes with the model")
