"""Reinforcement learning: prompts are answered by the model itself, answers are judged, what was good becomes likelier.

`algorithm.name` says how: a file of `rl/`, rloo unless told otherwise. `reward` says who judges: a function
`path.py:function`, a run of stage reward, or a weighted list. The reference is the model as it was opened.
"""

from dataclasses import asdict
from typing import Any

from accorda.data.prompts.experience import PromptBatches
from accorda.data.prompts.renderer import prompts_of
from accorda.errors import Refusal
from accorda.generation.stopping import stop_ids
from accorda.methods.open import Opened
from accorda.models.labels import Labels
from accorda.recipe.layers import leaves
from accorda.recipe.reader import read as read_settings
from accorda.recipe.sections import Recipe
from accorda.rl.contract import Algorithm
from accorda.rl.held_out import REPORTED, evaluator
from accorda.rl.phases import Phases
from accorda.rl.registry import read
from accorda.rl.reward import Named, Reward, WeightedReward, function_of, named
from accorda.rl.settings import RolloutSettings
from accorda.stages import comparing
from accorda.stages.contract import Stage
from accorda.training.session import Session

DEFAULT = "rloo"


def algorithm(recipe: Recipe) -> Algorithm:
    """The algorithm of a recipe.

    Raises:
        Refusal: no such algorithm, or a setting that it does not have.
    """
    return read(recipe.algorithm, origins=recipe.origins)


def rollout(recipe: Recipe) -> RolloutSettings:
    """How answers are sampled."""
    return read_settings(RolloutSettings, recipe.rollout, at="rollout", origins=recipe.origins)


def settle(recipe: Recipe, labels: Labels | None) -> Recipe:
    """Every setting of algorithm and rollout, and what the best checkpoint is.

    Raises:
        Refusal: dropout in the method; a choice among turns to learn; metrics of other rows; too few completions of a
            prompt; no reward, or one that is not there.
    """
    recipe = recipe.with_settings("algorithm", {"name": DEFAULT})
    chosen, sampling = algorithm(recipe), rollout(recipe)
    if sampling.num_generations < chosen.least_generations:
        raise Refusal(
            f"rollout.num_generations = {sampling.num_generations} ({recipe.origin('rollout.num_generations')}): "
            f"{recipe.algorithm['name']} compares the answers to a prompt with each other; use "
            f"{chosen.least_generations} or more"
        )
    for name, value in leaves(recipe.method):
        if name.rpartition(".")[2] == "dropout" and value:
            raise Refusal(
                f"method.{name} = {value} ({recipe.origin(f'method.{name}')}): answers are scored again to be learned "
                "from, so nothing may be dropped at random; set it to 0"
            )
    if recipe.data.supervise != "all":
        raise Refusal(
            f"data.supervise = {recipe.data.supervise} ({recipe.origin('data.supervise')}): what the policy samples is "
            "learned and nothing else; leave it out"
        )
    if recipe.evaluation.metrics:
        raise Refusal(
            f"evaluation.metrics ({recipe.origin('evaluation.metrics')}): held-out answers are judged by the reward; "
            "leave it out, and measure the finished run with: accorda eval"
        )
    for part in named(recipe.reward, recipe.origin("reward")):
        if part.is_function:
            function_of(part.source)
    recipe = recipe.with_settings("algorithm", asdict(chosen)).with_settings("rollout", asdict(sampling))
    if recipe.origin("evaluation.best") == "default":
        recipe = recipe.with_value("evaluation.best", "reward", "auto: of held-out answers")
    return recipe


def opened(found: Opened, recipe: Recipe) -> None:
    """Keep what an adapter was, where the algorithm asks for a reference."""
    comparing.require_decoder(found, recipe.stage)
    if algorithm(recipe).needs_reference:
        comparing.keep_reference(found)


def objective(recipe: Recipe) -> Any:
    """What makes the objective."""
    return lambda model: algorithm(recipe).objective(model, rollout(recipe))


def carried(session: Session) -> Phases:
    """What answers the prompts and makes batches of the answers."""
    recipe, model = session.recipe, session.model
    assert isinstance(session.batches, PromptBatches)
    renderer = prompts_of(session.renderer)
    return Phases(
        model=model,
        prompts=session.batches,
        algorithm=algorithm(recipe),
        objective=session.objective,
        reward=reward_of(named(recipe.reward, recipe.origin("reward"))),
        settings=rollout(recipe),
        tokenizer=session.tokenizer,
        stop_ids=stop_ids(model, session.tokenizer, renderer.stop_ids),
        precision=session.loop.precision,
        seed=recipe.training.seed,
    )


def reward_of(parts: list[Named]) -> Reward:
    """Who judges."""
    made = [(function_of(part.source), part.weight) for part in parts]
    return made[0][0] if len(made) == 1 and made[0][1] == 1 else WeightedReward(made)


def phases(recipe: Recipe) -> dict[str, Any]:
    """How many answers a prompt gets, how long they may be, how many steps learn from them, and whether in pairs."""
    sampling, chosen = rollout(recipe), algorithm(recipe)
    return {
        "num_generations": sampling.num_generations,
        "max_new_tokens": sampling.max_new_tokens,
        "updates": chosen.updates,
        "paired": chosen.paired,
    }


STAGE = Stage(
    rows="rl",
    objective=objective,
    settle=settle,
    opened=opened,
    evaluator=evaluator,
    carried=carried,
    phases=phases,
    reported=REPORTED,
)
