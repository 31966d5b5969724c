"""Go on with a stopped or killed run from its last checkpoint, to the very result it would have had."""

import argparse

from accorda.cli.terminal.outcome import Outcome


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One run, or a sweep."""
    parser.add_argument("run", metavar="RUN", help="the folder of a run or of a sweep")


def run(arguments: argparse.Namespace) -> Outcome:
    """The rest of the run."""
    from accorda.cli.terminal.summary import finished
    from accorda.cli.terminal.watching import Watching
    from accorda.runs.sweep import SweepFolder
    from accorda.stages import resume

    with Watching() as watch:
        if SweepFolder(arguments.run).is_sweep():
            from accorda.cli.terminal.sweep import compared
            from accorda.stages.sweep import resume_sweep

            return compared(resume_sweep(arguments.run, watch=watch, tell=watch.tell).result)
        return finished(resume(arguments.run, watch=watch))
