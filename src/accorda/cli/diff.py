"""Tell what two runs do not have in common: settings, data, environment."""

import argparse
from pathlib import Path

from accorda.cli.terminal.outcome import Outcome
from accorda.cli.terminal.table import table
from accorda.errors import Refusal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Two runs."""
    parser.add_argument("runs", nargs=2, metavar="RUN", help="two runs, finished or not")


def run(arguments: argparse.Namespace) -> Outcome:
    """One line per difference."""
    from accorda.runs.differences import differences
    from accorda.runs.layout import RunFolder
    from accorda.runs.story import tell

    folders = [Path(path).expanduser() for path in arguments.runs]
    for folder in folders:
        if not RunFolder(folder).is_run():
            raise Refusal(f"{folder}: no run here (a run folder holds recipe.yaml); list them with: accorda runs")
    found = differences(*(tell(folder) for folder in folders))
    rows = [(item.what, item.name, item.old, item.new) for item in found]
    one, other = map(str, folders)
    return Outcome(
        result={"runs": [one, other], "differences": [vars(item) for item in found]},
        text=table(("", "name", one, other), rows) if rows else "the same settings, data and environment",
    )
