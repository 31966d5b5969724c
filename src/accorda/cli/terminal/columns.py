"""`--column OURS=THEIRS`: which column of a file a field of ours is read from."""

import argparse

from accorda.cli.terminal.parser import filled
from accorda.errors import Refusal


def add_column(parser: argparse.ArgumentParser) -> None:
    """The flag, as often as needed."""
    says = "our column A is column B of the file; as often as needed"
    parser.add_argument("--column", metavar="A=B", type=filled, action="append", default=[], help=says)


def columns(pairs: list[str]) -> dict[str, str]:
    """{ours: theirs} of all that were given.

    Raises:
        Refusal: not two names, or one of ours twice.
    """
    given: dict[str, str] = {}
    for pair in pairs:
        ours, equals, theirs = pair.partition("=")
        if not (ours and equals and theirs):
            raise Refusal(f"--column {pair}: write it as ours=theirs, for example --column prompt=question")
        if given.setdefault(ours, theirs) != theirs:
            raise Refusal(f"--column {pair}: {ours} is already {given[ours]}; say it once")
    return given
