"""Prove again from its files what a run did, or look through anybody's adapter or model folder.

A run is opened again and every proof but movement is computed anew; movement is held against the stored checksums.
Folders that other tools wrote are checked for factors left at zero, a wrong base, missing tensors, end and padding
tokens, template, and what merging changes.
"""

import argparse
from contextlib import closing

from accorda.cli.terminal.columns import add_column, columns
from accorda.cli.terminal.counting import Counting
from accorda.cli.terminal.early import check_verify
from accorda.cli.terminal.outcome import Outcome


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to look at, and what it cannot name itself."""
    parser.add_argument("run", metavar="RUN", help="a run, an adapter folder or a model folder")
    parser.add_argument(
        "--base", metavar="B", help="the base of an adapter whose header does not name one that is here"
    )
    parser.add_argument("--data", metavar="F", help="rows to compare log-probabilities on; a run has its own")
    add_column(parser)


def run(arguments: argparse.Namespace) -> Outcome:
    """Every proof, computed anew; exit 1 where one fails."""
    named = columns(arguments.column)
    check_verify(arguments)
    from accorda.cli.terminal.summary import verified
    from accorda.generation.progress import watched
    from accorda.stages import verify

    with closing(Counting(parts=True)) as count, watched(count):
        found = verify(arguments.run, arguments.base, arguments.data, columns=named)
    return verified(arguments.run, found)
