"""List the runs in a folder as a tree: which came out of which, how each ended, what was proven."""

import argparse
from pathlib import Path
from typing import Any

from accorda.cli.terminal.outcome import Outcome
from accorda.cli.terminal.table import table
from accorda.errors import Refusal

COLUMNS = ("status", "stage", "method", "steps", "loss", "eval_loss", "proofs")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One folder."""
    parser.add_argument("folder", nargs="?", default="runs", metavar="FOLDER", help="where runs are (default: runs)")


def run(arguments: argparse.Namespace) -> Outcome:
    """List every run at or below the folder."""
    from accorda.runs.lineage import runs, tree

    if not Path(arguments.folder).is_dir():
        raise Refusal(f"FOLDER = {arguments.folder}: no such folder; runs land in runs/ unless --output says otherwise")
    rows = [(depth, described(entry)) for depth, entry in tree(runs(arguments.folder))]
    result = {"runs": [row for _, row in rows]}
    if not rows:
        return Outcome(result=result, text=f"no runs in {arguments.folder}")
    lines = [(f"{'  ' * depth}{row['run']}", *(row[column] for column in COLUMNS)) for depth, row in rows]
    return Outcome(result=result, text=table(("run", *COLUMNS), lines))


def described(entry: Any) -> dict[str, Any]:
    """What is known of one run, finished or not."""
    from accorda.runs.story import tell

    story, result = tell(entry.path), entry.result
    return {
        "run": str(entry.path),
        "status": entry.status,
        "stage": result.get("stage") or story.setting("stage"),
        "method": result.get("method") or story.setting("method.name"),
        "steps": result.get("steps"),
        "loss": result.get("loss"),
        "eval_loss": result.get("eval_loss"),
        "proofs": summed(list((result.get("proofs") or {}).values())),
        "parents": [str(parent) for parent in entry.parents],
    }


def summed(verdicts: list[str]) -> str | None:
    """How many proofs hold and how many fail."""
    counts = ((verdicts.count("holds"), "hold"), (verdicts.count("fails"), "fail"))
    return ", ".join(f"{number} {word}" for number, word in counts if number) or None
