"""List runs as a tree of which came out of which, look at one, or clean up.

`accorda runs FOLDER` lists, `accorda runs RUN` shows one run, `accorda runs clean FOLDER` tells what could go:
checkpoints of complete runs, and unfinished runs in which nothing happened for days. It deletes with --yes only, and
never a run that another one came out of.
"""

import argparse
import time
from pathlib import Path
from typing import Any

from accorda.cli.terminal.facts import blocks, facts
from accorda.cli.terminal.outcome import Outcome
from accorda.cli.terminal.parser import whole_number
from accorda.cli.terminal.table import table
from accorda.errors import Refusal
from accorda.recipe.words import shown

COLUMNS = ("status", "stage", "method", "steps", "eval_loss", "proofs", "when", "size")
CLEAN = "clean"
DAYS = 14


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One folder, and what may go."""
    says = "where runs are (default: runs), or one run; after `clean`: where to clean"
    parser.add_argument("words", nargs="*", metavar="[clean] FOLDER", help=says)
    parser.add_argument("--yes", action="store_true", help="clean: delete what would go")
    parser.add_argument(
        "--days",
        metavar="N",
        type=whole_number(1),
        help=f"clean: unfinished runs without news for N days; default: {DAYS}",
    )


def run(arguments: argparse.Namespace) -> Outcome:
    """List, show one, or clean."""
    words = list(arguments.words)
    cleaning = words[:1] == [CLEAN]
    folder, *more = words[cleaning:] or ["runs"]
    if more:
        raise Refusal(f"{shown(more[0])}: one argument too many for accorda runs")
    if not cleaning and (arguments.yes or arguments.days is not None):
        raise Refusal(f"{'--yes' if arguments.yes else '--days'}: belongs to accorda runs clean")
    place = Path(folder).expanduser()
    if not place.is_dir():
        raise Refusal(f"FOLDER = {folder}: no such folder; runs land in runs/ unless --output says otherwise")
    if cleaning:
        return clean(place, arguments.days or DAYS, arguments.yes)
    return one(place) if (place / "recipe.yaml").is_file() else listing(place)


def listing(folder: Path) -> Outcome:
    """Every run at or below the folder."""
    from accorda.runs.figures import size
    from accorda.runs.lineage import runs, tree
    from accorda.runs.story import told_broken

    rows = [(depth, described(entry)) for depth, entry in tree(runs(folder))]
    result = {"runs": [row for _, row in rows]}
    if not rows:
        return Outcome(result=result, text=f"no runs in {folder}")
    lines = []
    for depth, row in rows:
        shown_row = row | {"when": row["when"][:16].replace("T", " "), "size": size(row["bytes"])}
        lines.append((f"{'  ' * depth}{row['run']}", *(shown_row[column] for column in COLUMNS)))
    broken = told_broken(file for _, row in rows for file in row["broken"])
    return Outcome(result=result, text="\n".join([table(("run", *COLUMNS), lines), *broken]))


def one(folder: Path) -> Outcome:
    """One run: its numbers, what was set, what was proven, and the commands to go on with."""
    from accorda.cli.terminal.summary import told
    from accorda.runs.lineage import listed
    from accorda.runs.sections.onwards import commands
    from accorda.runs.story import tell, told_broken

    story, row = tell(folder), described(listed(folder))
    known = [(name, row[name]) for name in ("status", "reason", "when", "bytes")]
    known += [("parent", parent) for parent in row["parents"]]
    given = [(item.name, item.value, item.origin) for item in story.settings if item.origin != "default"]
    proofs = [tuple(proof.get(name) for name in ("name", "verdict", "reason")) for proof in story.proofs]
    numbers = told({**story.result, "output": str(folder)}) if story.result else facts([("steps", row["steps"])])
    text = blocks(
        [
            numbers,
            facts(known),
            table(("set or decided", "value", "by"), given) if given else "",
            table(("proof", "verdict", "reason"), proofs) if proofs else "",
            "\n".join(told_broken(story.broken)),
            facts(commands(story)),
        ]
    )
    settings = {item.name: {"value": item.value, "origin": item.origin} for item in story.settings}
    details = {"result": story.result, "settings": settings, "proofs": story.proofs}
    return Outcome(result={**row, **details, "commands": [line for line, _ in commands(story)]}, text=text)


def described(entry: Any) -> dict[str, Any]:
    """What is known of one run, finished or not."""
    from datetime import UTC, datetime

    from accorda.runs.cleaning import last_change, size
    from accorda.runs.story import tell

    story, result = tell(entry.path), entry.result
    return {
        "run": str(entry.path),
        "status": entry.status,
        "reason": story.stopped() or None,
        "broken": list(story.broken),
        "stage": result.get("stage") or story.setting("stage"),
        "method": result.get("method") or story.setting("method.name"),
        "steps": result.get("steps"),
        "loss": result.get("loss"),
        "eval_loss": result.get("eval_loss") or story.chosen().get("eval_loss"),
        "proofs": summed(list((result.get("proofs") or {}).values())),
        "when": datetime.fromtimestamp(last_change(entry.path), UTC).astimezone().isoformat(timespec="seconds"),
        "bytes": size(entry.path),
        "parents": [str(parent) for parent in entry.parents],
    }


def summed(verdicts: list[str]) -> str | None:
    """How many proofs hold and how many fail."""
    counts = ((verdicts.count("holds"), "hold"), (verdicts.count("fails"), "fail"))
    return ", ".join(f"{number} {word}" for number, word in counts if number) or None


def clean(folder: Path, days: int, really: bool) -> Outcome:
    """Tell what would go, or let it go."""
    from accorda.runs.cleaning import remove, waste
    from accorda.runs.figures import size
    from accorda.runs.lineage import runs

    found = waste(runs(folder), days, time.time())
    if really:
        remove(found)
    total = sum(item.bytes for item in found)
    result = {
        "status": "deleted" if really else "kept",
        "bytes": total,
        "items": [{"path": str(item.path), "what": item.what, "bytes": item.bytes} for item in found],
    }
    if not found:
        return Outcome(result=result, text=f"nothing to clean in {folder}")
    lines = table(("folder", "what", "size"), [(str(item.path), item.what, size(item.bytes)) for item in found])
    end = f"deleted: {size(total)} freed" if really else f"nothing was deleted; --yes frees {size(total)}"
    return Outcome(result=result, text=f"{lines}\n\n{end}")
