"""A recipe, overrides and flags on the command line of a verb, as one recipe."""

import argparse
from pathlib import Path
from typing import Any

from accorda.cli.terminal.columns import add_column, columns
from accorda.cli.terminal.parser import filled
from accorda.errors import Refusal
from accorda.recipe.load import SHORT
from accorda.recipe.registries import stages

Given = tuple[str | None, list[str], dict[str, Any]]
LISTED = ("method", "model")  # text, or several of it for a sweep
TYPED = ("rank", "lr", "epochs", "batch_size")  # read as YAML reads them; the other flags are text


def add_settings(parser: argparse.ArgumentParser) -> None:
    """A recipe, overrides, and a flag for each of the usual settings."""
    parser.add_argument("settings", nargs="*", metavar="RECIPE.yaml|KEY.PATH=VALUE", help="a recipe and what to change")
    flags = (
        ("--stage", "S", ", ".join(stages())),
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


def given(arguments: argparse.Namespace) -> Given:
    """The recipe's file, overrides and flags: what `recipe.load.load` takes."""
    recipes = [item for item in arguments.settings if "=" not in item]
    if recipes and Path(recipes[0]).is_dir():
        raise Refusal(f"{recipes[0]}: a folder, not a recipe; a model is named with --model {recipes[0]}")
    if len(recipes) > 1:
        raise Refusal(f"{recipes[1]}: a second recipe; one run has one (overrides are written KEY.PATH=VALUE)")
    overrides = [item for item in arguments.settings if "=" in item]
    return recipes[0] if recipes else None, overrides, flags(arguments)


def recipe_of(arguments: argparse.Namespace) -> Any:
    """The recipe that the arguments come to, with a model named."""
    from accorda.recipe.load import load

    recipe = load(*given(arguments))
    if recipe.model.config is None:
        recipe.require("model.path", "name a model folder, hub id or run with --model")
    return recipe


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
