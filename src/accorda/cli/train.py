"""Train by a recipe or flags and prove what was done; --dry-run shows all of it first and stops.

RECIPE.yaml and KEY.PATH=VALUE may come in any order: `accorda train run.yaml training.batch_size=16`.
Flags win over the recipe; every value is written down with where it came from. A list where a setting takes one value
trains once per value and compares: `data.limit=[125,250,500]`, `--rank [4,8]`, `method=[lora,bitfit]`; several lists
are combined.
"""

import argparse
from pathlib import Path
from typing import Any

from accorda.cli.terminal.columns import add_column, columns
from accorda.cli.terminal.outcome import Outcome
from accorda.cli.terminal.parser import filled
from accorda.errors import Refusal
from accorda.recipe.layers import leaves
from accorda.recipe.load import SHORT

LISTED = ("method", "model")  # text, or several of it for a sweep
TYPED = ("rank", "lr", "epochs", "batch_size")  # read as YAML reads them; the other flags are text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A recipe, overrides, and a flag for each of the usual settings."""
    parser.add_argument("settings", nargs="*", metavar="RECIPE.yaml|KEY.PATH=VALUE", help="a recipe and what to change")
    flags = (
        ("--stage", "S", "pretrain or sft"),
        ("--model", "M", "hub id, model folder, adapter folder or run"),
        ("--data", "F", "training rows: a file, a folder or hf:owner/name:split"),
        ("--eval-data", "F", "rows to evaluate on; default: a share of the training rows"),
        ("--method", "N", "a name that accorda methods lists"),
        ("--rank", "R", "the method's rank"),
        ("--lr", "X", "learning rate"),
        ("--epochs", "N", "how often every row is seen"),
        ("--batch-size", "N", "rows per optimizer step"),
        ("--output", "DIR", "the run folder; default: runs/<date>-<stage>-<method>"),
    )
    for flag, value, says in flags:
        parser.add_argument(flag, metavar=value, type=filled, help=says)
    add_column(parser)
    parser.add_argument("--dry-run", action="store_true", help="everything up to the first step, and nothing written")


def run(arguments: argparse.Namespace) -> Outcome:
    """One run, or all of it but the steps."""
    from accorda.cli.terminal.summary import dry_run, finished
    from accorda.cli.terminal.watching import Watching
    from accorda.recipe.load import load, merged
    from accorda.stages import train

    recipes = [item for item in arguments.settings if "=" not in item]
    if recipes and Path(recipes[0]).is_dir():
        raise Refusal(f"{recipes[0]}: a folder, not a recipe; a model is named with --model {recipes[0]}")
    if len(recipes) > 1:
        raise Refusal(f"{recipes[1]}: a second recipe; one run has one (overrides are written KEY.PATH=VALUE)")
    overrides = [item for item in arguments.settings if "=" in item]
    given = (recipes[0] if recipes else None, overrides, flags(arguments))
    if any(isinstance(value, list) for _, value in leaves(merged(*given)[0])):
        swept = sweep(*merged(*given), dry_run=arguments.dry_run)
        if swept is not None:
            return swept
    recipe = load(*given)
    if recipe.model.config is None:
        recipe.require("model.path", "name a model folder, hub id or run with --model")
    recipe.require("data.train", "name the training rows with --data")
    with Watching() as watch:
        done = train(recipe, dry_run=arguments.dry_run, watch=watch)
    return dry_run(done) if arguments.dry_run else finished(done)


def sweep(values: dict[str, Any], origins: dict[str, str], *, dry_run: bool) -> Outcome | None:
    """The outcome of a sweep; None where no setting has several values."""
    from accorda.cli.terminal.sweep import compared, dry_runs
    from accorda.cli.terminal.watching import Watching
    from accorda.stages.sweep import sweep_of
    from accorda.stages.sweep_plan import varying

    if not varying(values, origins):
        return None
    with Watching() as watch:
        done = sweep_of(values, origins, dry_run=dry_run, watch=watch, tell=watch.tell)
    return dry_runs(done.result) if dry_run else compared(done.result)


def flags(arguments: argparse.Namespace) -> dict[str, Any]:
    """The flags that were given, by the dotted names of their settings."""
    from accorda.recipe.parse import parse_value

    given: dict[str, Any] = {}
    for name, setting in SHORT.items():
        text = getattr(arguments, name, None)
        if text is not None:
            typed = name in TYPED or (name in LISTED and text.startswith("["))
            given[setting] = parse_value(text, setting) if typed else text
    return given | {f"data.columns.{ours}": theirs for ours, theirs in columns(arguments.column).items()}
