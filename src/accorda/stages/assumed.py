"""What is taken to go through a model where there is no data.

Rows as long as they may be, all of them learned, and a run long enough to write a checkpoint. An encoder-decoder's rows
are as long as they may be on both sides, compared answers each of both.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import ceil

from accorda.evaluation.during_training import BATCH_SIZE
from accorda.evaluation.measure import needing
from accorda.evaluation.registry import read_metrics
from accorda.planning.rehearsal import Passes
from accorda.planning.workload import LabelledWorkload, PreferenceWorkload, SampledWorkload, Workload
from accorda.recipe.sections import Recipe
from accorda.stages.pricing import at_once, is_tried


@dataclass(frozen=True)
class Found:
    """What goes through the model, and whether the proof of resume is drawn on the way."""

    passes: Passes
    trial: bool


def texts(recipe: Recipe, two_sides: bool) -> Found:
    """Completions of prompts, or blocks of text."""
    learned = _sizes(recipe)[1] - 1
    return _of_rows(recipe, two_sides, partial(_equal, learned=learned, two_sides=two_sides))


def labelled(recipe: Recipe, two_sides: bool) -> Found:
    """Texts with a label."""
    return _of_rows(recipe, two_sides, _labelled)


def compared(recipe: Recipe, two_sides: bool) -> Found:
    """Answers side by side."""
    return _of_rows(recipe, two_sides, _compared)


def sampled(recipe: Recipe, two_sides: bool) -> Found:
    """Prompts and completions as long as they may be."""
    rows, length = _sizes(recipe)
    training, answer, number = recipe.training, recipe.rollout["max_new_tokens"], recipe.rollout["num_generations"]
    times = min(2, ceil(training.batch_size * number / rows))
    work = SampledWorkload((length,) * rows, (answer,) * rows, bool(training.packing))
    steps = training.max_steps or training.checkpoint_every + 1
    answered = at_once(recipe), max(1, length - answer), answer
    passes = Passes((work,) * times + _beside(recipe, rows, length), answers=answered)
    return Found(passes, is_tried(recipe, steps, bool(recipe.data.eval_split)))


def _beside(recipe: Recipe, rows: int, length: int) -> tuple[Workload, ...]:
    """Ordinary rows that an algorithm learns in every step beside the answers."""
    if not recipe.algorithm.get("ptx_data"):
        return ()
    number = recipe.algorithm["ptx_rows"]
    work = _equal(min(rows, number), length, learned=length - 1, two_sides=False, packed=bool(recipe.training.packing))
    return (work,) * min(2, ceil(number / rows))


def _of_rows(recipe: Recipe, two_sides: bool, make: Callable[..., Workload]) -> Found:
    """What trains, and what is measured and answered beside it, of rows that `make` gives so many of that length."""
    training, wanted = recipe.training, recipe.evaluation
    rows, length = _sizes(recipe)
    work = make(rows, length, packed=bool(training.packing))
    times = min(2, ceil(training.batch_size / rows))
    steps = training.max_steps or training.checkpoint_every + 1
    if not recipe.data.eval_split:
        return Found(Passes((work,) * times), is_tried(recipe, steps, False))
    measured = make(BATCH_SIZE, length, packed=False)
    answered = wanted.generate or needing("generations", read_metrics(("eval_loss", *wanted.metrics)))
    prompt = length if two_sides else max(1, length - wanted.max_new_tokens)
    answers = (min(BATCH_SIZE, wanted.generate or BATCH_SIZE), prompt, wanted.max_new_tokens) if answered else None
    return Found(Passes((work,) * times, measured, answers), is_tried(recipe, steps, True))


def _sizes(recipe: Recipe) -> tuple[int, int]:
    """Rows of a micro-batch, and tokens of a row."""
    rows, length = recipe.training.micro_batch_size, recipe.data.max_length
    assert isinstance(length, int)
    assert isinstance(rows, int)
    return rows, length


def _equal(rows: int, length: int, *, learned: int, two_sides: bool, packed: bool) -> Workload:
    """Rows that are all alike."""
    encoder = (length,) * rows if two_sides else ()
    return Workload(((1 + two_sides) * length,) * rows, (learned,) * rows, packed, encoder)


def _labelled(rows: int, length: int, *, packed: bool) -> Workload:
    """Rows that are all alike and have a label each."""
    return LabelledWorkload((length,) * rows, (1,) * rows, packed)


def _compared(rows: int, length: int, *, packed: bool) -> Workload:
    """Pairs of answers that are all alike: as many as fill so many rows."""
    pairs = max(1, rows // 2)
    return PreferenceWorkload((length,) * 2 * pairs, (length - 1,) * 2 * pairs, packed, (), (2,) * pairs)
