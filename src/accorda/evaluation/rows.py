"""Rows to evaluate, from whatever names them: a file, rows, a recipe's data section, or a prepared data set."""

from dataclasses import replace
from os import PathLike
from typing import Any

import numpy as np
from transformers import PreTrainedModel

from accorda.data.dataset import Dataset
from accorda.data.labelled.renderer import LabelledRenderer
from accorda.data.preparation import preparation
from accorda.data.renderer import Renderer
from accorda.data.settings import Settings, Split, Stage
from accorda.errors import Refusal
from accorda.methods.backbone import positions_in_front
from accorda.models.positions import positions
from accorda.recipe.sections import DataSection

LONGEST = 1024
"""The most tokens of a row unless the section says otherwise: as in training."""


def dataset_of(
    data: Any,
    model: PreTrainedModel,
    renderer: Renderer,
    *,
    limit: int | None = None,
    stage: Stage = "sft",
    split: Split = "eval",
    seed: int = 0,
) -> Dataset:
    """The rows as a data set, at most `limit` of them.

    A path or a list of rows is read as a recipe's `data.eval`; of a section, the rows of `split` are taken. Rows that
    do not fit are left out and counted in the data set's report. Plain texts that do not fit are joined and cut into
    blocks that do, so that no token is lost.

    Raises:
        Refusal: rows that cannot be read; none that fits.
    """
    if isinstance(data, Dataset):
        return data
    section = data if isinstance(data, DataSection) else DataSection(eval=as_source(data))
    if section.overlong == "auto" and not isinstance(renderer, LabelledRenderer):
        section = replace(section, overlong="skip")
    if limit is not None and section.eval is not None and split == "eval":  # else it would move the split
        section = replace(section, eval_limit=min(limit, section.eval_limit or limit))
    length = section.max_length if isinstance(section.max_length, int) else room(model)
    found = _rows(Settings(section, renderer, length, stage, seed), split)
    if renderer.kind == "text" and stage == "sft" and (found is None or found.report.rows["overlong"]):
        found = _rows(Settings(section, renderer, length, "pretrain", seed), split)
    if found is None:
        raise Refusal(f"data: not one row fits in {length} tokens")
    return found


def num_trained_on(dataset: Dataset, trained: Dataset) -> int:
    """How many of the rows stand among those, by their content; blocks of running text are not compared."""
    return 0 if dataset.everything or trained.everything else int(np.isin(dataset.digests, trained.digests).sum())


def _rows(settings: Settings, split: Split) -> Dataset | None:
    making = preparation(settings)
    return making.train() if split == "train" else making.held()


def as_source(data: Any) -> Any:
    """What a recipe's `data.eval` may be: a path as text, or rows as a list."""
    return str(data) if isinstance(data, PathLike) else data


def room(model: PreTrainedModel) -> int:
    """How many tokens a row may have: the model's positions less those of acting soft prompts, at most 1024."""
    return min(positions(model) or LONGEST, LONGEST) - positions_in_front(model)
