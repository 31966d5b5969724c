"""What a run's bill is made of: the shapes of its largest passes, and the dtype its weights lie in on disk."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel

from accorda.data.dataset import Dataset
from accorda.data.labelled.dataset import LabelledDataset
from accorda.data.preferences.batch import PreferenceSegment, preference_batch
from accorda.data.prompts.experience import PromptBatches
from accorda.data.sampler import Batches
from accorda.errors import Refusal
from accorda.evaluation.during_training import BATCH_SIZE
from accorda.evaluation.measure import needing
from accorda.evaluation.questions import PROMPT_OF_TEXT
from accorda.evaluation.registry import read_metrics
from accorda.models.folder import (
    checkpoint_dtype,
    declared_dtype,
    model_folder,
    read_config,
    stored_format,
    weight_files,
)
from accorda.models.load import DTYPES
from accorda.planning.judge import Judge
from accorda.planning.rehearsal import Passes
from accorda.planning.workload import LabelledWorkload, Workload
from accorda.recipe.sections import Recipe
from accorda.rl.backends.registry import backends
from accorda.rl.phases import FEW

STEPS_LOOKED_AT = 2000
Judges = Callable[[Recipe, PreTrainedModel, tuple[int, int, int]], tuple[Judge, ...]]


def passes(recipe: Recipe, batches: Batches, evaluation: Dataset | None, beside: Batches | None = None) -> Passes:
    """The largest micro-batch of the first epoch, twice where a step has several; and evaluation's.

    `beside`: rows that every step learns after its own.
    """
    works = largest(batches) + (() if beside is None else largest(beside))
    if isinstance(batches, PromptBatches):
        return Passes(works, answers=sampled(recipe, batches))
    if evaluation is None or not len(evaluation):
        return Passes(works)
    return Passes(works, measured(evaluation), answers(recipe, evaluation))


def largest(batches: Batches) -> tuple[Workload, ...]:
    """The largest micro-batch of the first epoch, twice where its step has several."""
    steps = range(min(STEPS_LOOKED_AT, batches.steps_per_epoch))
    groups = [(step, group) for step in steps for group in batches.groups(step)]
    step, rows = max(groups, key=lambda found: batches.positions(found[1]))
    return (Workload.of(batches.batch(rows)),) * min(2, len(batches.groups(step)))


def judged(judges: Judges, recipe: Recipe, model: PreTrainedModel, found: Passes) -> Passes:
    """The passes with those of the reward models that judge this policy's answers; `judges`: as the stage has it."""
    if found.answers is None:
        return found
    return replace(found, judges=judges(recipe, model, found.answers))


def sampled(recipe: Recipe, batches: PromptBatches) -> tuple[int, int, int]:
    """Completions sampled at once, the longest prompt and the tokens they may get."""
    return at_once(recipe), int(batches.dataset.lengths.max()), batches.max_new_tokens


def at_once(recipe: Recipe) -> int:
    """Completions sampled at once in this process; where a server samples, those that proofs look at."""
    number, elsewhere = recipe.rollout["num_generations"], backends()[recipe.rollout["backend"]].elsewhere
    prompts = FEW if elsewhere else recipe.training.batch_size
    return min(max(number, recipe.rollout["batch_size"]), prompts * number)


def measured(evaluation: Dataset) -> Workload:
    """The longest evaluation rows, as many as are measured at once."""
    longest = np.argsort(-evaluation.lengths, kind="stable")[:BATCH_SIZE]
    segments = [evaluation[int(row)] for row in longest]
    compared = [segment for segment in segments if isinstance(segment, PreferenceSegment)]
    if compared:
        return Workload.of(preference_batch(compared, packed=False, pad_id=0))
    learned = tuple(int(segment.supervised[1:].sum()) for segment in segments)
    if isinstance(evaluation, LabelledDataset):
        return LabelledWorkload(tuple(map(len, segments)), learned, packed=False)
    encoder = tuple(segment.encoder_length for segment in segments) if evaluation.two_sides else ()
    return Workload(tuple(map(len, segments)), learned, packed=False, encoder_lengths=encoder)


def answers(recipe: Recipe, evaluation: Dataset) -> tuple[int, int, int] | None:
    """Rows answered at once, their longest prompt and the tokens they may get; None where nothing is generated."""
    wanted = recipe.evaluation
    metrics = needing("generations", read_metrics(("eval_loss", *wanted.metrics)))
    number = wanted.generate or (len(evaluation) if metrics else 0)
    if not number:
        return None
    rows = range(min(number, len(evaluation)))
    if evaluation.everything:
        return min(BATCH_SIZE, len(rows)), PROMPT_OF_TEXT, wanted.max_new_tokens
    longest = max(len(evaluation.prompt_ids(row)) for row in rows)
    return min(BATCH_SIZE, len(rows)), max(1, longest), wanted.max_new_tokens


def is_tried(recipe: Recipe, num_steps: int, evaluated: bool) -> bool:
    """Whether a checkpoint is written, and the proof of resume drawn, before the last step."""
    first = recipe.training.checkpoint_every
    if evaluated:  # the best so far is kept as a checkpoint
        first = min(first, recipe.evaluation.every)
    return first < num_steps


def file_dtype(recipe: Recipe, base: str | None) -> torch.dtype | None:
    """The dtype of the base's files where its weights are used as they lie there; None where they are made anew.

    In a number format every weight is read by itself, those that stay dense too, and no page of a file is kept.
    """
    if recipe.model.config is not None or base is None or recipe.model.quantization != "none":
        return None
    folder = model_folder(base, code=recipe.model.trust_remote_code)
    config = read_config(folder)
    if stored_format(config) is not None:
        return None
    declared = declared_dtype(config)
    stored = stored_dtype(folder) or declared or "float32"
    wanted = declared or stored if recipe.model.dtype == "auto" else recipe.model.dtype
    return DTYPES[stored] if DTYPES[wanted] == DTYPES[stored] else None


def stored_dtype(folder: Path) -> str | None:
    """The dtype of the weights in a folder; None where there are none."""
    try:
        return checkpoint_dtype(weight_files(folder))
    except Refusal:
        return None
