"""A reward model: one number per answer, from a head on the last token's state, learned from compared answers.

The head is new unless the model brings one, and trains with every method. `algorithm.centring` draws rewards towards
zero; only their differences are learned otherwise. A row's `margin`, where it has one, is by how much its better
answer should win.
"""

from dataclasses import asdict, dataclass
from math import sqrt

import torch
from torch import nn

from accorda.errors import Refusal
from accorda.evaluation.preferences.during_training import evaluator
from accorda.evaluation.preferences.samples import samples
from accorda.methods.open import Opened, head_of
from accorda.models.heads import new_heads
from accorda.models.labels import Labels
from accorda.recipe.reader import read
from accorda.recipe.sections import Recipe
from accorda.recipe.types import NonNegativeFloat
from accorda.stages import comparing
from accorda.stages.contract import Stage
from accorda.training.rewarding import objective_of


@dataclass(frozen=True, kw_only=True)
class Algorithm:
    """The settings of this stage alone."""

    centring: NonNegativeFloat = 0.0


def algorithm(recipe: Recipe) -> Algorithm:
    """The settings of a recipe's section `algorithm`."""
    return read(Algorithm, recipe.algorithm, at="algorithm", origins=recipe.origins)


def settle(recipe: Recipe, labels: Labels | None) -> Recipe:
    """Every setting, and the metrics of comparisons.

    Raises:
        Refusal: as `comparing.settle`; answers to generate, which such a model does not.
    """
    if recipe.evaluation.generate:
        raise Refusal(
            f"evaluation.generate = {recipe.evaluation.generate} ({recipe.origin('evaluation.generate')}): "
            "a reward model writes no answers; leave it 0"
        )
    return comparing.settle(recipe.with_settings("algorithm", asdict(algorithm(recipe))))


def opened(found: Opened, recipe: Recipe) -> None:
    """Draw a new head: normal with deviation 1 / sqrt(width + 1), a bias of zero; one that was stored stays."""
    comparing.require_decoder(found, recipe.stage)
    section = recipe.model
    path = section.path if found.adapter_name is not None else None
    if path is not None and head_of(path, section.adapter) is not None:
        return
    generator = torch.Generator().manual_seed(recipe.training.seed)
    for head in new_heads(found.model).values():
        for parameter in head.parameters():
            draw(parameter, generator)


@torch.no_grad()
def draw(parameter: nn.Parameter, generator: torch.Generator) -> None:
    """New values of a weight (outputs, width) or a bias."""
    if parameter.ndim < 2:
        parameter.zero_()
    elif not parameter.is_meta:
        values = torch.randn(parameter.shape, generator=generator) / sqrt(parameter.shape[-1] + 1)
        parameter.copy_(values)


STAGE = Stage(
    rows="preference",
    objective=lambda recipe: objective_of(algorithm(recipe).centring),
    labels=lambda recipe: Labels(),
    settle=settle,
    opened=opened,
    evaluator=evaluator,
    samples=samples,
)
