"""A recipe becomes a session: everything decided, loaded and installed, and nothing written."""

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import torch

from accorda.data.batch import pad_batch
from accorda.data.labelled.batch import LabelledSegment, label_batch
from accorda.data.labelled.renderer import LabelledRenderer
from accorda.data.preferences.batch import PreferenceSegment
from accorda.data.prompts.dataset import PromptDataset, as_text
from accorda.data.sampler import Batches
from accorda.methods.checkpointing import enable_checkpointing
from accorda.methods.contract import Method
from accorda.methods.install import trainable
from accorda.methods.open import Opened
from accorda.methods.stepping import extra_loss, on_step, rate_scales
from accorda.models.attention import use_attention
from accorda.models.packed import num_parameters
from accorda.planning.devices import find_device
from accorda.recipe.sections import Recipe
from accorda.runs.layout import RunFolder, default_output
from accorda.stages import settle, tune
from accorda.stages.contract import find_stage
from accorda.stages.resident import Resident
from accorda.stages.rows import Data
from accorda.training.loop import Loop
from accorda.training.memory import PeakMemory
from accorda.training.objective import StepObjective
from accorda.training.optimizers.contract import Settings as OptimizerSettings
from accorda.training.optimizers.groups import parameter_groups
from accorda.training.optimizers.registry import read as read_optimizer
from accorda.training.parts import Part, unwatched
from accorda.training.precision import Precision, choose_precision
from accorda.training.rng import seed_all
from accorda.training.schedule import Schedule
from accorda.training.session import Session

OPENED_NOTE, OPTIMIZER_NOTE, ATTENTION_NOTE, STEPS_NOTE = "opened", "optimizer", "attention", "num_steps"
BILL_NOTE, PROFILE_NOTE = "bill", "profile"


def build(
    recipe: Recipe,
    folder: RunFolder | None = None,
    *,
    trained: bool = False,
    resident: Resident | None = None,
    part: Part = unwatched,
) -> Session:
    """Everything a run needs, from its recipe.

    Args:
        recipe: as read.
        folder: the run's own where it is resumed or reopened; a new run finds one.
        trained: put in place what the run in `folder` trained, instead of a fresh start.
        resident: a base that other runs share; None to load one for this run.
        part: entered around the reading of rows, as `data`.

    Raises:
        Refusal: a setting, the data, the model or the method does not hold together. Nothing has been written.
    """
    stage = find_stage(recipe.stage)
    method, recipe = tune.read_method(recipe)
    optimizer = read_optimizer(recipe.training.optimizer, origins=recipe.origins)
    recipe.require("data.train", "name a file with --data")
    recipe, folder = place(recipe, folder)
    memory = PeakMemory(settle.default_device()) if resident is None else resident.memory
    labels = stage.labels(recipe)
    recipe = stage.settle(recipe, labels)
    if resident is None:
        opened = tune.open_base(recipe, folder.model if trained and folder.model.is_dir() else None, labels)
    else:
        opened = resident.opened(recipe, labels)
    stage.opened(opened, recipe)
    method, recipe = tune.continued(recipe, method, opened)
    config = opened.model.config
    kind = config.model_type if config.is_encoder_decoder else None
    num_weights = num_parameters(opened.model)  # without what this run's method adds, as `plan` counts them
    precision = choose_precision(recipe.training.precision, opened.model.device, num_weights)
    recipe = settle.settle_precision(settle.settle_rate(recipe, method, num_weights, kind), precision)
    recipe = settle.settle_length(recipe, opened.model)
    kept_attention = use_attention(opened.model) or stage.padded
    recipe = settle.settle_packing(recipe, kept_attention, opened.model)
    tokenizer = tune.read_tokenizer(recipe, opened, grown=trained and folder.model.is_dir())
    with part("data"):
        data = stage.read(recipe, opened.model, tokenizer, labels)
    recipe = settle.settle_micro_batch(recipe, find_device(opened.model.device.type), len(data.train), opened.model)
    seed_all(recipe.training.seed)
    if trained:
        methods = tune.put_trained(method, opened, folder)
    else:
        methods, recipe = tune.put_method(recipe, method, opened, examples(recipe, data, opened.model.device))
    session = assemble(recipe, methods, opened, data, optimizer, precision, folder, memory)
    session.notes[ATTENTION_NOTE] = kept_attention
    return session


def place(recipe: Recipe, folder: RunFolder | None) -> tuple[Recipe, RunFolder]:
    """Where the run goes; a new run's folder must be free."""
    if folder is not None:
        return recipe, folder
    if recipe.output is None:
        name = default_output(recipe.stage, str(recipe.method["name"]))
        recipe = recipe.with_value("output", name, "auto: runs/<date>-<stage>-<method>")
    folder = RunFolder(str(recipe.output))
    folder.refuse_unless_free()
    return recipe, folder


def assemble(
    recipe: Recipe,
    methods: tuple[Method, ...],
    opened: Opened,
    data: Data,
    optimizer: OptimizerSettings,
    precision: Precision,
    folder: RunFolder,
    memory: PeakMemory,
) -> Session:
    """The loop over everything that has been read, and the session around it."""
    stage, model, training = find_stage(recipe.stage), opened.model, recipe.training
    precision.prepare(model)
    if training.gradient_checkpointing:
        enable_checkpointing(model)
    batches = make_batches(recipe, data, model.device)
    num_steps = training.max_steps or batches.num_steps(training.epochs)
    recipe = settle.settle_warmup(recipe, num_steps)
    objective = stage.objective(recipe)(model)
    own = objective.own_parameters() if isinstance(objective, StepObjective) else {}
    groups = parameter_groups(trainable(model) | own, training.weight_decay, rate_scales(model))
    loop = Loop(
        model=model,
        objective=objective,
        batches=batches,
        optimizer=optimizer.build(groups),
        schedule=schedule(recipe, num_steps),
        max_grad_norm=training.max_grad_norm,
        precision=precision,
        memory=memory,
        extra_loss=extra_loss(model),
        on_step=on_step(model, num_steps),
    )
    session = Session(
        model=model,
        tokenizer=data.renderer.tokenizer,
        renderer=data.renderer,
        method=methods,
        recipe=recipe,
        train=data.train,
        eval=data.eval,
        batches=batches,
        objective=objective,
        loop=loop,
        folder=folder,
        device=model.device,
        notes={OPENED_NOTE: opened, OPTIMIZER_NOTE: optimizer, STEPS_NOTE: num_steps},
    )
    making = stage.carried(session)
    if making is not None:
        loop.batches = loop.carried = making
    return session


def make_batches(recipe: Recipe, data: Data, device: Any) -> Batches:
    """The micro-batches of every step; their size changes speed and memory, never the gradient."""
    training, length = recipe.training, recipe.data.max_length
    assert isinstance(training.micro_batch_size, int)
    assert isinstance(length, int)
    settings: dict[str, Any] = {
        "batch_size": training.batch_size,
        "micro_tokens": training.micro_batch_size * length,
        "packed": bool(training.packing),
        "pad_id": data.pad_id,
        "seed": training.seed,
        "device": device,
    }
    stage = find_stage(recipe.stage)
    return stage.kind.batches(data.train, **settings, **stage.phases(recipe))


def examples(recipe: Recipe, data: Data, device: torch.device) -> Iterator[dict[str, Any]]:
    """The training rows in the run's order, each alone, as the model's inputs with labels; without end.

    A reward model's have none: its loss is of answers side by side.
    """
    batches = make_batches(recipe, data, device)
    for step in count():
        for row in batches.rows(step):
            segment = data.train[int(row)]
            if isinstance(segment, LabelledSegment):
                yield labelled_example(segment, data, device)
                continue
            best = segment.best if isinstance(segment, PreferenceSegment) else segment
            best = as_text(best) if isinstance(data.train, PromptDataset) else best
            batch = pad_batch([best], data.renderer.pad_id).to(device)
            yield {**batch.inputs(), **({} if recipe.stage == "reward" else {"labels": batch.labels})}


def labelled_example(segment: LabelledSegment, data: Data, device: torch.device) -> dict[str, Any]:
    """One labelled row as the model's inputs with its class, or its number."""
    assert isinstance(data.renderer, LabelledRenderer)
    batch = label_batch([segment], data.pad_id).to(device)
    return {**batch.inputs(), "labels": batch.wanted if data.renderer.labels.is_number else batch.wanted.long()}


def schedule(recipe: Recipe, num_steps: int) -> Callable[[int], float]:
    """The learning rate by step."""
    training = recipe.training
    assert isinstance(training.learning_rate, float)
    assert isinstance(training.warmup_steps, int)
    return Schedule(training.schedule, training.learning_rate, num_steps, training.warmup_steps)
