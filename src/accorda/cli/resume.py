"""Go on with a stopped or killed run from its last checkpoint, to the very result it would have had."""

import argparse

from accorda.cli.terminal.outcome import Outcome


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One run."""
    parser.add_argument("run", metavar="RUN", help="the run folder")


def run(arguments: argparse.Namespace) -> Outcome:
    """The rest of the run."""
    from accorda.cli.terminal.summary import finished
    from accorda.cli.terminal.watching import Watching
    from accorda.stages import resume

    with Watching() as watch:
        return finished(resume(arguments.run, watch=watch))
