"""Classification: one label per text or pair of texts; or one number, regression.

The head is new unless the model brings one, trains with every method, and has an output per class of the training
rows, in the order of their names. Numbers are learned where the labels have a point, or `algorithm.labels` says so.
"""

from dataclasses import dataclass, replace

from accorda.data.labelled.found import Kind, found_labels
from accorda.errors import Refusal
from accorda.evaluation.labelled.during_training import evaluator
from accorda.evaluation.labelled.samples import samples
from accorda.methods.open import head_of
from accorda.models.labels import Labels
from accorda.recipe.reader import read
from accorda.recipe.sections import Recipe
from accorda.stages.contract import Stage
from accorda.training.classifying import Classifying

UNKNOWN = Labels(("0", "1"))
"""What a plan without data takes labels to be."""
METRICS = {False: ("accuracy", "f1_macro"), True: ("pearson", "mean_absolute_error")}


@dataclass(frozen=True, kw_only=True)
class Algorithm:
    """The settings of this stage alone."""

    labels: Kind = "auto"


def labels(recipe: Recipe) -> Labels:
    """What the head tells apart: what the model's own does, else what the training rows say.

    Raises:
        Refusal: rows without two classes; classes that the model's own head does not know.
    """
    settings = read(Algorithm, recipe.algorithm, at="algorithm", origins=recipe.origins)
    own = stored(recipe)
    if recipe.data.train is None:
        return own or UNKNOWN
    kind = "numbers" if settings.labels == "auto" and own is not None and own.is_number else settings.labels
    found = found_labels(recipe.data, kind)
    if own is None or own == found:
        return found
    if own.is_number or found.is_number or not set(found.names) <= set(own.names):
        raise Refusal(
            f"model.path = {recipe.model.path}: its head tells apart {own.told()}, the rows {found.told()}; "
            "start from the model it was trained from"
        )
    return own


def stored(recipe: Recipe) -> Labels | None:
    """The labels of a model that has been a classifier before."""
    section = recipe.model
    if section.config is not None or section.path is None:
        return None
    return head_of(section.path, section.adapter)


def settle(recipe: Recipe, found: Labels | None) -> Recipe:
    """Metrics that suit the labels, and over-long texts cut at their end.

    Raises:
        Refusal: answers to generate, which such a model does not.
    """
    if recipe.evaluation.generate:
        raise Refusal(
            f"evaluation.generate = {recipe.evaluation.generate} ({recipe.origin('evaluation.generate')}): "
            "a classifier writes no answers; leave it 0"
        )
    recipe = replace(recipe, algorithm=dict(recipe.algorithm) or {"labels": "auto"})
    if recipe.data.overlong == "auto":
        recipe = recipe.with_value("data.overlong", "truncate", "auto: the label is of what is left of a text")
    if not recipe.evaluation.metrics:
        wanted = METRICS[found is not None and found.is_number]
        recipe = recipe.with_value("evaluation.metrics", wanted, "auto: for classes or numbers")
    return recipe


STAGE = Stage(
    rows="classify",
    objective=lambda recipe: Classifying,
    labels=labels,
    settle=settle,
    padded="each row is answered as a whole, so rows are padded instead of packed",
    evaluator=evaluator,
    samples=samples,
)
