"""What a run learns from, by the kind of rows its stage names: how they are read, batched, and assumed in a plan."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from accorda.data.dataset import Dataset
from accorda.data.labelled.batch import LabelledBatches
from accorda.data.labelled.prepare import prepare_labelled
from accorda.data.preferences.batch import PreferenceBatches
from accorda.data.preferences.prepare import prepare_preferences
from accorda.data.preferences.renderer import PreferenceRenderer
from accorda.data.prepare import prepare_splits
from accorda.data.prompts.experience import PromptBatches
from accorda.data.prompts.prepare import prepare_prompts
from accorda.data.prompts.renderer import PromptRenderer
from accorda.data.renderer import Renderer
from accorda.data.sampler import Batches
from accorda.data.settings import Stage as TextRows
from accorda.errors import Refusal
from accorda.evaluation.labelled.predict import pad_of, renderer_for, settle_padding
from accorda.models.decoder_start import decoder_start
from accorda.models.labels import Labels, is_classifier
from accorda.recipe.sections import Recipe
from accorda.stages import assumed
from accorda.stages.assumed import Found


@dataclass(kw_only=True)
class Data:
    """The rows of a run as tokens, and what made them so."""

    renderer: Renderer
    train: Dataset
    eval: Dataset | None
    pad_id: int


Reader = Callable[..., Data]
"""Of a recipe, the model, its tokenizer and the labels of its head."""


def read_texts(
    kind: TextRows,
    recipe: Recipe,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    labels: Labels | None,
) -> Data:
    """Rows to learn word by word: completions of prompts, or blocks of text."""
    section, start = recipe.data, decoder_start(model)
    renderer = Renderer(tokenizer, section.template, section.supervise, section.reasoning, decoder_start=start)
    assert isinstance(section.max_length, int)
    train, evaluation = prepare_splits(
        section, renderer, max_length=section.max_length, stage=kind, seed=recipe.training.seed
    )
    return Data(renderer=renderer, train=train, eval=evaluation, pad_id=renderer.pad_id)


def read_labelled(
    recipe: Recipe, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, labels: Labels | None
) -> Data:
    """Rows with a label; the model is told the id that pads them, since some heads look for it."""
    assert labels is not None
    settle_padding(model, tokenizer)
    renderer, length = renderer_for(model, tokenizer, labels), recipe.data.max_length
    train, evaluation = prepare_labelled(recipe.data, renderer, max_length=length, seed=recipe.training.seed)
    if model.config.is_encoder_decoder:
        check_ends([each for each in (train, evaluation) if each is not None], model.config.eos_token_id)
    return Data(renderer=renderer, train=train, eval=evaluation, pad_id=pad_of(model))


def read_preferences(
    recipe: Recipe,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    labels: Labels | None,
    thumbs: bool = False,
) -> Data:
    """Rows of compared answers, with `thumbs` each by itself; a model with a reward head is told the id that pads."""
    if is_classifier(model):
        settle_padding(model, tokenizer)
    section, length = recipe.data, recipe.data.max_length
    renderer = PreferenceRenderer(tokenizer, section.template, section.reasoning, thumbs=thumbs)
    train, evaluation = prepare_preferences(section, renderer, max_length=length, seed=recipe.training.seed)
    return Data(renderer=renderer, train=train, eval=evaluation, pad_id=renderer.pad_id)


def read_prompts(
    recipe: Recipe, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, labels: Labels | None
) -> Data:
    """Prompts, each with room for an answer behind it."""
    section, longest, answer = recipe.data, recipe.data.max_length, recipe.rollout["max_new_tokens"]
    assert isinstance(longest, int)
    if longest <= answer:
        raise Refusal(
            f"rollout.max_new_tokens = {answer} ({recipe.origin('rollout.max_new_tokens')}): of data.max_length = "
            f"{longest} tokens nothing is left for a prompt; use fewer"
        )
    renderer = PromptRenderer(tokenizer, section.template, section.reasoning)
    train, evaluation = prepare_prompts(section, renderer, max_length=longest - answer, seed=recipe.training.seed)
    return Data(renderer=renderer, train=train, eval=evaluation, pad_id=renderer.pad_id)


def check_ends(datasets: Sequence[Dataset], eos: int | None) -> None:
    """Refuse rows that a head of an encoder-decoder cannot read: it looks for the one token that ends each row."""
    for dataset in datasets:
        ends = [int(np.count_nonzero(dataset[row].input_ids == eos)) for row in range(len(dataset))]
        odd = next((row for row, number in enumerate(ends) if number != ends[0] or not number), None)
        if odd is not None:
            why = "more end-of-sequence tokens than other rows" if ends[0] else "no end-of-sequence token"
            raise Refusal(
                f"{dataset[odd].file}:{dataset[odd].line}: {why}, and the head of an encoder-decoder reads the last "
                "one; take such a token out of the text, or a tokenizer that writes one"
            )


@dataclass(frozen=True)
class Rows:
    """A kind of rows.

    read: the rows of a recipe as tokens, for a model and its tokenizer. batches: what makes a step's micro-batches.
    assumed: what goes through a model where there is no data, for a recipe; `two_sides`: through one with two stacks.
    """

    read: Reader
    batches: type[Batches]
    assumed: Callable[[Recipe, bool], Found]


KINDS = {
    "sft": Rows(partial(read_texts, "sft"), Batches, assumed.texts),
    "pretrain": Rows(partial(read_texts, "pretrain"), Batches, assumed.texts),
    "classify": Rows(read_labelled, LabelledBatches, assumed.labelled),
    "preference": Rows(read_preferences, PreferenceBatches, assumed.compared),
    "rl": Rows(read_prompts, PromptBatches, assumed.sampled),
}
"""By what a stage calls them."""
