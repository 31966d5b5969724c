"""Write a commented recipe with every setting of a stage, to edit and to run."""

import argparse
from pathlib import Path

from accorda.cli.terminal.outcome import Outcome
from accorda.cli.terminal.parser import filled
from accorda.errors import Refusal
from accorda.recipe.words import meant, shown

STAGES = ("pretrain", "sft")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The stage, and what can be filled in at once."""
    parser.add_argument("stage", metavar="STAGE", help=" or ".join(STAGES))
    parser.add_argument("--model", metavar="M", type=filled, help="hub id, model folder, adapter folder or run")
    parser.add_argument("--data", metavar="F", type=filled, help="the training rows")
    parser.add_argument("--method", metavar="N", type=filled, help="a name that accorda methods lists")
    parser.add_argument("--output", metavar="FILE", type=filled, help="default: STAGE.yaml")


def run(arguments: argparse.Namespace) -> Outcome:
    """Write the file; one that exists is never replaced."""
    from accorda.methods.registry import read, write
    from accorda.recipe.load import load
    from accorda.recipe.template import commented
    from accorda.runs.files import write_text

    if arguments.stage not in STAGES:
        near = meant(arguments.stage, STAGES) or f"; it must be {' or '.join(STAGES)}"
        raise Refusal(f"STAGE = {shown(arguments.stage)}: no such stage{near}")
    path = Path(arguments.output or f"{arguments.stage}.yaml")
    if path.exists():
        raise Refusal(f"--output {path}: exists already and is never replaced; choose another name")
    if not path.absolute().parent.is_dir():
        raise Refusal(f"--output {path}: no folder {path.parent}")
    given = {"model.path": arguments.model, "data.train": arguments.data, "method.name": arguments.method}
    flags = {"stage": arguments.stage} | {name: value for name, value in given.items() if value is not None}
    recipe = load(None, flags=flags)
    recipe = recipe.with_settings("method", write(read(recipe.method)))
    write_text(path, commented(recipe, f"run it with: accorda train {path}"))
    return Outcome(
        result={"status": "written", "path": str(path)}, text=f"wrote {path}; run it with: accorda train {path}"
    )
