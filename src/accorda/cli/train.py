"""Train by a recipe or flags and prove what was done; --dry-run shows all of it first and stops.

RECIPE.yaml and KEY.PATH=VALUE may come in any order: `accorda train run.yaml training.batch_size=16`.
Flags win over the recipe; every value is written down with where it came from. A list where a setting takes one value
trains once per value and compares: `data.limit=[125,250,500]`, `--rank [4,8]`, `method=[lora,bitfit]`; several lists
are combined.
"""

import argparse
from typing import Any

from accorda.cli.terminal.outcome import Outcome
from accorda.cli.terminal.settings import add_settings, given, recipe_of
from accorda.errors import Refusal
from accorda.recipe.layers import leaves


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A recipe, overrides, and a flag for each of the usual settings."""
    add_settings(parser)
    parser.add_argument("--dry-run", action="store_true", help="everything up to the first step, and nothing written")
    parser.add_argument("--profile", action="store_true", help="tell where the time went and what the products reached")


def run(arguments: argparse.Namespace) -> Outcome:
    """One run, or all of it but the steps."""
    from accorda.cli.terminal.early import check_early, check_sweep
    from accorda.cli.terminal.summary import dry_run, finished
    from accorda.cli.terminal.watching import Watching
    from accorda.recipe.load import merged

    settings = merged(*given(arguments))
    if any(isinstance(value, list) for _, value in leaves(settings[0])):
        check_sweep(settings[0])
        swept = sweep(*settings, dry_run=arguments.dry_run, profile=arguments.profile)
        if swept is not None:
            return swept
    recipe = recipe_of(arguments)
    recipe.require("data.train", "name the training rows with --data")
    check_early(recipe)
    with Watching() as watch:
        watch.prepare("opening the model, reading the rows, checking both before the first step")
        from accorda.stages import train

        done = train(recipe, dry_run=arguments.dry_run, profile=arguments.profile, watch=watch)
    return dry_run(done) if arguments.dry_run else finished(done)


def sweep(values: dict[str, Any], origins: dict[str, str], *, dry_run: bool, profile: bool) -> Outcome | None:
    """The outcome of a sweep; None where no setting has several values."""
    from accorda.cli.terminal.sweep import compared, dry_runs
    from accorda.cli.terminal.watching import Watching
    from accorda.stages.sweep import sweep_of
    from accorda.stages.sweep_plan import varying

    if not varying(values, origins):
        return None
    if profile:
        raise Refusal("--profile: of one run, and this is a sweep of several; leave it out or give one value each")
    with Watching() as watch:
        done = sweep_of(values, origins, dry_run=dry_run, watch=watch, tell=watch.tell)
    return dry_runs(done.result) if dry_run else compared(done.result)
