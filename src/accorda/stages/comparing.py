"""What the stages that learn from compared answers share: what their recipes may not say, and the reference."""

import torch

from accorda.errors import Refusal
from accorda.methods.install import install, installed, own_tensors
from accorda.methods.open import Opened
from accorda.methods.routing import use
from accorda.models.configuration import is_decoder
from accorda.recipe.layers import leaves
from accorda.recipe.sections import Recipe
from accorda.training.preferring import REFERENCE

METRICS = ("preference_accuracy", "reward_margin")


def settle(recipe: Recipe) -> Recipe:
    """The metrics of comparisons.

    Raises:
        Refusal: dropout in the method; a choice among turns to learn; rewards or prompts that another stage has.
    """
    require_no_dropout(recipe, "answers are compared")
    require_whole_answers(recipe, "of compared answers the answers are learned and nothing else")
    if not recipe.evaluation.metrics:
        recipe = recipe.with_value("evaluation.metrics", METRICS, "auto: of compared answers")
    return recipe


def require_no_dropout(recipe: Recipe, because: str) -> None:
    """Refuse dropout in the method."""
    for name, value in leaves(recipe.method):
        if name.rpartition(".")[2] == "dropout" and value:
            raise Refusal(
                f"method.{name} = {value} ({recipe.origin(f'method.{name}')}): {because}, so nothing may be dropped at "
                "random; set it to 0"
            )


def require_whole_answers(recipe: Recipe, because: str) -> None:
    """Refuse a choice among turns to learn."""
    if recipe.data.supervise != "all":
        raise Refusal(
            f"data.supervise = {recipe.data.supervise} ({recipe.origin('data.supervise')}): {because}; leave it out"
        )


def require_decoder(opened: Opened, stage: str, because: str = "answers are compared in decoders only") -> None:
    """Refuse a model whose prompt and answer are not one text that is read from its beginning to its end."""
    config = opened.model.config
    if not is_decoder(config):
        raise Refusal(f"stage = {stage}: {because}, and {config.model_type} is none")


@torch.no_grad()
def keep_reference(opened: Opened) -> None:
    """Beside an adapter that the model brought, a frozen copy of it: the reference is the model as it was opened."""
    model, own = opened.model, opened.adapter_name
    if own is None:
        return
    with use(model, None):
        install(model, installed(model)[own], REFERENCE, active=False)
    copies = own_tensors(model, REFERENCE)
    for name, tensor in own_tensors(model, own).items():
        copies[name].copy_(tensor)
        copies[name].requires_grad_(False)
