"""The recipe of a run, with its rows where they are now: a sweep keeps rows beside its runs, and may be moved."""

from accorda.recipe.load import load
from accorda.recipe.sections import Recipe
from accorda.runs.layout import RunFolder
from accorda.runs.sweep import SweepFolder


def recorded(run: RunFolder) -> Recipe:
    """What `recipe.yaml` says, but for the rows that the run's sweep keeps: they are read where the sweep lies."""
    recipe = load(run.recipe)
    sweep = SweepFolder(run.path.parent)
    if not sweep.is_sweep():
        return recipe
    for split in ("train", "eval"):
        beside = sweep.path / f"{split}.jsonl"
        if beside.is_file():
            recipe = recipe.with_value(f"data.{split}", str(beside), "the same rows for every run of the sweep")
    return recipe
