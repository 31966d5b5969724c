"""Go on with a stopped or killed run from its last checkpoint, to the very result it would have had."""

import argparse
from pathlib import Path

from accorda.cli.terminal.outcome import Outcome
from accorda.errors import Refusal
from accorda.recipe.words import shown
from accorda.runs.layout import RunFolder
from accorda.runs.place import require_writable
from accorda.runs.sweep import SweepFolder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One run, or a sweep."""
    parser.add_argument("run", metavar="RUN", help="the folder of a run or of a sweep")
    parser.add_argument("settings", nargs="*", help=argparse.SUPPRESS)  # none is taken; the refusal says what to do


def run(arguments: argparse.Namespace) -> Outcome:
    """The rest of the run."""
    if arguments.settings:
        raise Refusal(
            f"{shown(arguments.settings[0])}: a resumed run keeps its settings; with others, go on from its result: "
            f"accorda train --model {arguments.run} --data FILE {' '.join(arguments.settings)}"
        )
    check_run(arguments.run)
    from accorda.cli.terminal.summary import finished
    from accorda.cli.terminal.watching import Watching
    from accorda.stages import resume

    with Watching() as watch:
        if SweepFolder(arguments.run).is_sweep():
            from accorda.cli.terminal.sweep import compared
            from accorda.stages.sweep import resume_sweep

            return compared(resume_sweep(arguments.run, watch=watch, tell=watch.tell).result)
        return finished(resume(arguments.run, watch=watch))


def check_run(name: str) -> None:
    """Refuse a folder that holds no run or that cannot be written to, before torch is imported."""
    run = RunFolder(Path(name))
    if not run.is_run() and not SweepFolder(name).is_sweep():
        raise Refusal(f"{name}: no run here (a run folder holds recipe.yaml); list them with: accorda runs")
    require_writable(run.result, "RUN =")
