"""Preferences: learn from compared answers without a reward model, by one of the algorithms of `objectives/preference`.

`algorithm.name` says which: dpo unless told otherwise. Its reference is the model as it was opened: the base without
the adapter that trains, or a frozen copy of the adapter it brought.
"""

from dataclasses import asdict

from accorda.errors import Refusal
from accorda.evaluation.preferences.during_training import evaluator
from accorda.methods.open import Opened
from accorda.models.labels import Labels
from accorda.objectives.preference.contract import Algorithm
from accorda.objectives.preference.registry import read
from accorda.recipe.sections import Recipe
from accorda.stages import comparing
from accorda.stages.contract import Stage
from accorda.training.preferring import objective_of

DEFAULT = "dpo"


def algorithm(recipe: Recipe) -> Algorithm:
    """The algorithm of a recipe.

    Raises:
        Refusal: no such algorithm, or a setting that it does not have.
    """
    return read(recipe.algorithm, origins=recipe.origins)


def settle(recipe: Recipe, labels: Labels | None) -> Recipe:
    """Every setting of the algorithm, and the metrics of comparisons.

    Raises:
        Refusal: as `comparing.settle`; thumbs one at a time.
    """
    recipe = comparing.settle(recipe.with_settings("algorithm", {"name": DEFAULT}))
    chosen = algorithm(recipe)
    if chosen.thumbs and recipe.training.batch_size < 2:
        raise Refusal(
            f"training.batch_size = {recipe.training.batch_size} ({recipe.origin('training.batch_size')}): "
            f"{recipe.algorithm['name']} estimates how far it went from a step's other rows; use 2 or more, better 16"
        )
    return recipe.with_settings("algorithm", asdict(chosen))


def opened(found: Opened, recipe: Recipe) -> None:
    """Keep what an adapter was, where the algorithm asks for a reference."""
    comparing.require_decoder(found, recipe.stage)
    if algorithm(recipe).needs_reference:
        comparing.keep_reference(found)


STAGE = Stage(
    rows="preference",
    objective=lambda recipe: objective_of(algorithm(recipe)),
    settle=settle,
    opened=opened,
    thumbs=lambda recipe: algorithm(recipe).thumbs,
    evaluator=evaluator,
)
