"""Turn a configuration of TRL, Axolotl or LLaMA-Factory into a recipe, and say what is lost.

FILE is what `trl sft --config`, `axolotl train` or `llamafactory-cli train` was given, for supervised fine-tuning:
full, LoRA or one of its variants. The recipe goes to standard output, or to --output; the report names every key:
carried over, with another meaning here, without a counterpart, unknown, or of the tool's own workings.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from accorda.cli.terminal.facts import blocks
from accorda.cli.terminal.new_file import new_file
from accorda.cli.terminal.outcome import Outcome
from accorda.cli.terminal.parser import filled, whole_number

TITLES = {
    "differs": "mean something else here",
    "no counterpart": "have no counterpart",
    "unknown": "are not known",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The file, the tool where it cannot be told, where the recipe goes."""
    parser.add_argument("file", metavar="FILE", type=filled, help="the other tool's YAML or JSON file")
    parser.add_argument("--output", metavar="RECIPE", type=filled, help="a file for the recipe; never replaced")
    parser.add_argument(
        "--from",
        dest="tool",
        metavar="TOOL",
        type=filled,
        help="trl, axolotl or llamafactory; default: told by the keys",
    )
    parser.add_argument(
        "--devices",
        metavar="N",
        type=whole_number(1),
        default=1,
        help="on how many it ran, for the batch size; default: 1",
    )


def run(arguments: argparse.Namespace) -> Outcome:
    """Convert, check the recipe as strictly as a run would, write it."""
    from accorda.recipe.migrate.convert import grouped, migrate
    from accorda.runs.files import write_text

    path = None if arguments.output is None else new_file(arguments.output)
    found = migrate(arguments.file, known, tool=arguments.tool, devices=arguments.devices)
    from accorda.methods.registry import read as read_method
    from accorda.training.optimizers.registry import read as read_optimizer

    read_method(found.recipe.method, origins=found.recipe.origins)
    read_optimizer(found.recipe.training.optimizer, origins=found.recipe.origins)
    groups = grouped(found.notes)
    report = told(found.tool, groups)
    if path is not None:
        write_text(path, found.text)
        report = blocks([report, f"wrote {path}; look at it, then: accorda train {path} --dry-run"])
    else:
        sys.stderr.write(report.partition("\n")[0] + "; --output FILE writes it and tells every key\n")
    result = {
        "status": "migrated",
        "tool": found.tool,
        "recipe": found.text,
        "output": None if path is None else str(path),
    }
    keys = {kind.replace(" ", "_"): [vars(note) for note in notes] for kind, notes in groups.items()}
    return Outcome(result=result | {"keys": keys}, text=found.text if path is None else report)


def known() -> Any:
    """The names of this version."""
    from accorda.data.chat import built_in
    from accorda.methods.registry import methods
    from accorda.quantization.convert import formats
    from accorda.recipe.migrate.draft import Known
    from accorda.training.optimizers.registry import optimizers
    from accorda.training.trackers.follow import trackers

    return Known(
        methods=frozenset(methods()),
        quantization=frozenset(formats()),
        optimizers=frozenset(optimizers()),
        templates=frozenset(built_in()),
        trackers=frozenset(trackers()),
    )


def told(tool: str, groups: Any) -> str:
    """The report for people: what needs a look in full, the rest by name."""
    from accorda.recipe.migrate.write import told as line

    counts = ", ".join(f"{len(notes)} {kind}" for kind, notes in groups.items() if notes)
    parts = [f"a configuration of {tool}: {counts}"]
    for kind, title in TITLES.items():
        if groups[kind]:
            parts.append("\n".join([f"keys that {title}:", *(f"  {line(note)}" for note in groups[kind])]))
    parts += [f"carried over: {names(groups['mapped'])}", f"dropped: {names(groups['dropped'])}"]
    return blocks(parts)


def names(notes: Sequence[Any]) -> str:
    """The keys of notes by name."""
    return ", ".join(note.key for note in notes) or "nothing"
