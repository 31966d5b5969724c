"""One frozen base in memory for several runs: every run has module objects of its own over the same weights.

Nothing that runs share is written to: methods hang what they train on a run's own modules. A method that trains or
rewrites base parameters cannot share them, and runs alone.
"""

import copy
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from accorda.methods.contract import Method
from accorda.methods.open import Opened
from accorda.methods.targets import is_ours
from accorda.models.heads import new_heads
from accorda.models.labels import Labels
from accorda.recipe.layers import mapping
from accorda.recipe.sections import Recipe
from accorda.stages import settle, tune
from accorda.training.memory import PeakMemory


def key(recipe: Recipe) -> str:
    """Runs of one key can share a base: the same model, opened and cast alike."""
    seed = recipe.training.seed if recipe.model.config is not None or recipe.stage in ("classify", "reward") else None
    parts: list[Any] = [mapping(recipe)["model"], recipe.stage, recipe.training.precision, seed]
    return json.dumps(parts, sort_keys=True, default=str)


def shares(methods: Sequence[Method]) -> bool:
    """Whether a run of the methods leaves the base's parameters alone."""
    return all(method.kind != "parameter" for method in methods)


class Resident:
    """A base, loaded when the first run asks for it. `memory` counts from before it was loaded."""

    def __init__(self) -> None:
        self.memory = PeakMemory(settle.default_device())
        self._loaded: tuple[str, Opened] | None = None

    def opened(self, recipe: Recipe, labels: Labels | None = None) -> Opened:
        """The base for one run.

        Raises:
            ValueError: it is not the base of that run.
        """
        if self._loaded is None:
            self._loaded = key(recipe), tune.open_base(recipe, labels=labels)
        known, opened = self._loaded
        if known != key(recipe):
            raise ValueError("runs over different bases cannot share one")
        return replace(opened, model=beside(opened.model))


def beside(model: PreTrainedModel) -> PreTrainedModel:
    """A model of its own modules, buffers, adapters and new heads over the base parameters of another."""
    return copy.deepcopy(model, {id(tensor): tensor for tensor in _shared(model)})


def _shared(model: PreTrainedModel) -> Iterator[Tensor]:
    heads = {id(parameter) for head in new_heads(model).values() for parameter in head.parameters()}
    named: Iterator[tuple[str, nn.Parameter]] = model.named_parameters()
    return (parameter for name, parameter in named if not is_ours(name) and id(parameter) not in heads)
