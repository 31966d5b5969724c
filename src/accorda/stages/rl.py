"""Reinforcement learning: prompts are answered by the model itself, answers are judged, what was good becomes likelier.

`algorithm.name` says how: a file of `rl/`, rloo unless told otherwise. `reward` says who judges: a function
`path.py:function`, a run of stage reward, or a weighted list. The reference is the model as it was opened.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from typing import Any

from torch import Tensor

from accorda.data.prepare import prepare
from accorda.data.prompts.experience import PromptBatches
from accorda.data.prompts.renderer import prompts_of
from accorda.data.renderer import Renderer
from accorda.data.sampler import Batches, EndlessBatches
from accorda.errors import Refusal, renamed
from accorda.evaluation.preferences.score import reward_renderer
from accorda.generation.stopping import stop_ids
from accorda.methods.install import own_tensors
from accorda.methods.locate import locate
from accorda.methods.open import RENDERER, Opened, open_model
from accorda.methods.routing import use
from accorda.methods.shell import fits, under_head
from accorda.models.labels import Labels
from accorda.recipe.reader import read as read_settings
from accorda.recipe.sections import DataSection, Recipe
from accorda.rl.backends import registry as backends
from accorda.rl.backends.trial import try_out
from accorda.rl.contract import Algorithm, PolicyAlgorithm
from accorda.rl.held_out import REPORTED, evaluator
from accorda.rl.phases import Phases
from accorda.rl.registry import read
from accorda.rl.reward import Named, Reward, WeightedReward, function_of, named
from accorda.rl.reward_model import RewardModel
from accorda.rl.settings import RolloutSettings
from accorda.stages import comparing
from accorda.stages.contract import Stage
from accorda.stages.judging import judges, name_of
from accorda.training.session import Session

DEFAULT = "rloo"
LOOKED_AT = 1000  # rows of which it is looked at whether a function finds its columns


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
    backends.check(sampling, recipe.origin)
    if sampling.num_generations < chosen.least_generations:
        raise Refusal(
            f"rollout.num_generations = {sampling.num_generations} ({recipe.origin('rollout.num_generations')}): "
            f"{recipe.algorithm['name']} compares the answers to a prompt with each other; use "
            f"{chosen.least_generations} or more"
        )
    if (why := chosen.misfit(sampling)) is not None:
        raise Refusal(why)
    require_minibatches(recipe, chosen, sampling)
    comparing.require_no_dropout(recipe, "answers are scored again to be learned from")
    comparing.require_whole_answers(recipe, "what the policy samples is learned and nothing else")
    if recipe.evaluation.metrics:
        raise Refusal(
            f"evaluation.metrics ({recipe.origin('evaluation.metrics')}): held-out answers are judged by the reward; "
            "leave it out, and measure the finished run with: accorda eval"
        )
    for part in named(recipe.reward, recipe.origin("reward")):
        if part.is_function:
            function_of(part.source)
            continue
        with renamed("model.path", "reward"):
            locate(part.source)
    recipe = recipe.with_settings("algorithm", asdict(chosen)).with_settings("rollout", asdict(sampling))
    if recipe.origin("evaluation.best") == "default":
        recipe = recipe.with_value("evaluation.best", "reward", "auto: of held-out answers")
    return recipe


def require_minibatches(recipe: Recipe, chosen: Algorithm, sampling: RolloutSettings, rows: int | None = None) -> None:
    """Refuse a pass over a phase in more updates than it has answers: the last would learn nothing."""
    prompts, told = recipe.training.batch_size, f"training.batch_size = {recipe.training.batch_size} prompts"
    if rows is not None and rows < prompts:
        prompts, told = rows, f"the data has {rows} prompts"
    answers = prompts * sampling.num_generations
    number = chosen.num_minibatches if isinstance(chosen, PolicyAlgorithm) else 1
    if number > answers:
        raise Refusal(
            f"algorithm.num_minibatches = {number}: a phase has {answers} answers ({told}, rollout.num_generations = "
            f"{sampling.num_generations} each), fewer than that; use fewer minibatches, or more answers"
        )


def opened(found: Opened, recipe: Recipe) -> None:
    """Keep what an adapter was: the reference of algorithms that ask for one, and of reports."""
    comparing.require_decoder(found, recipe.stage, "a policy is a decoder")
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
        reward=reward_of(named(recipe.reward, recipe.origin("reward")), session),
        settings=rollout(recipe),
        tokenizer=session.tokenizer,
        stop_ids=stop_ids(model, session.tokenizer, renderer.stop_ids),
        precision=session.loop.precision,
        seed=recipe.training.seed,
        beside=ptx_batches(recipe, session.renderer, session.batches),
        backend=backends.made(rollout(recipe), session.folder.rollout),
    )


def check(session: Session) -> None:
    """Ask whoever samples for a few answers, and whether they are the policy's."""
    recipe, phases = session.recipe, session.loop.carried
    require_minibatches(recipe, algorithm(recipe), rollout(recipe), len(session.train))
    length = recipe.data.max_length
    assert isinstance(phases, Phases)
    assert isinstance(length, int)
    try_out(phases, length, session.folder.path)


def ptx_batches(recipe: Recipe, renderer: Renderer, prompts: Batches) -> Batches | None:
    """Rows that are learned beside the answers, read and put together as stage sft would."""
    chosen = algorithm(recipe)
    rows = chosen.ptx if isinstance(chosen, PolicyAlgorithm) else None
    if rows is None:
        return None
    section, length = DataSection(train=rows.source, eval_split=0.0, overlong="skip"), recipe.data.max_length
    assert isinstance(length, int)
    own = Renderer(renderer.tokenizer, renderer.template, reasoning=renderer.reasoning)
    with renamed("data.train", "algorithm.ptx_data"):
        dataset = prepare(section, own, max_length=length, seed=recipe.training.seed)
    return EndlessBatches(
        dataset,
        batch_size=rows.rows,
        micro_tokens=prompts.micro_tokens,
        packed=prompts.packed,
        pad_id=own.pad_id,
        seed=recipe.training.seed,
        device=prompts.device,
    )


def reward_of(parts: list[Named], session: Session) -> Reward:
    """Who judges."""
    made = [(judge_of(part, session, number), part.weight) for number, part in enumerate(parts)]
    if len(made) == 1 and made[0][1] == 1:
        return made[0][0]
    if not any(weight for _, weight in made):
        raise Refusal(f"reward ({session.recipe.origin('reward')}): every weight is 0, so nothing is rewarded")
    return WeightedReward(made, [part.name for part in parts])


def judge_of(part: Named, session: Session, number: int) -> Reward:
    """A function, or a reward model: on the policy's base if it is an adapter of it, else a model of its own.

    Raises:
        Refusal: neither; a model without a reward head.
    """
    if part.is_function:
        made, rows = function_of(part.source), session.train
        for index in range(min(len(rows), LOOKED_AT) if made.needs else 0):
            made.require_columns(rows.example(index).columns, f"{rows[index].file}:{rows[index].line}")
        return made
    with renamed("model.path", "reward"):
        place = locate(part.source)
    model, name = session.model, name_of(number)
    if place.adapter is not None and fits(model, place.adapter):
        shell = under_head(model, place.adapter, name)
        opened = Opened(shell, str(place.adapter), place.base, name, place.run, place.adapter / RENDERER)
        own = own_tensors(shell, name)
        return judge_by(opened, part.source, session, lambda: use(model, name), own)
    opened = open_model(part.source, device=str(model.device))
    parameters: dict[str, Tensor] = dict(opened.model.named_parameters())
    return judge_by(opened, part.source, session, nullcontext, parameters)


def judge_by(
    opened: Opened,
    source: str,
    session: Session,
    acting: Callable[[], AbstractContextManager[object]],
    frozen: dict[str, Tensor],
) -> RewardModel:
    """An opened reward model as judge."""
    renderer = reward_renderer(opened, session.recipe.model.trust_remote_code)
    if renderer is None:
        raise Refusal(
            f"reward = {source} ({session.recipe.origin('reward')}): no reward model; name a run of stage reward, or a "
            "function as path.py:function"
        )
    for parameter in frozen.values():
        parameter.requires_grad_(False)
    return RewardModel(opened.model, renderer, session.renderer, acting, frozen)


def phases(recipe: Recipe) -> dict[str, Any]:
    """How many answers a prompt gets, how long they may be, how many steps learn from them, and whether in pairs."""
    sampling, chosen = rollout(recipe), algorithm(recipe)
    return {
        "num_generations": sampling.num_generations,
        "max_new_tokens": sampling.max_new_tokens,
        "updates": chosen.updates,
        "paired": chosen.paired,
    }


def arithmetic(session: Session) -> dict[str, Any]:
    """What a phase comes to, how its updates share the answers, where the distance comes in and what a token weighs."""
    sampling, chosen = rollout(session.recipe), algorithm(session.recipe)
    prompts = min(session.recipe.training.batch_size, len(session.train))
    return {
        "prompts_per_phase": prompts,
        "answers_per_prompt": sampling.num_generations,
        "answers_per_phase": prompts * sampling.num_generations,
        "updates_per_phase": chosen.updates,
        "answers_per_update": chosen.answers_of_update(prompts, sampling.num_generations),
        "kl_placement": chosen.kl_placement,
        "loss_aggregation": chosen.loss_aggregation,
    }


STAGE = Stage(
    rows="rl",
    objective=objective,
    settle=settle,
    opened=opened,
    evaluator=evaluator,
    carried=carried,
    beside=ptx_batches,
    check=check,
    phases=phases,
    arithmetic=arithmetic,
    judges=judges,
    reported=REPORTED,
)
