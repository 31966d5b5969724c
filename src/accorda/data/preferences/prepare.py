"""From a recipe's data section to the compared answers of a run."""

import logging
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from accorda.data.by_prompt import PreparationByPrompt
from accorda.data.dataset import DataReport, Dataset
from accorda.data.preferences.dataset import PreferenceDataset, answers_at, borders_of
from accorda.data.preferences.renderer import PreferenceRenderer
from accorda.data.settings import Settings, Split
from accorda.data.table import Table
from accorda.recipe.words import several

logger = logging.getLogger(__name__)


class ComparedTable(Table):
    """The rows of one setting; a row is as long as its longest answer."""

    @cached_property
    def starts(self) -> list[np.ndarray]:
        """Where the answers of every store begin."""
        return [answers_at(store) for store in self.stores]

    def sizes(self, spans: np.ndarray) -> np.ndarray:
        return np.array([np.diff(borders).max() for borders in borders_of(self.starts, spans)], np.int64)


class PreferencePreparation(PreparationByPrompt):
    """The datasets of one section."""

    never_cut = "compared answers are never cut, or what is left of one would be compared"

    def table(self, setting: Split) -> Table:
        if setting not in self._tables:
            self._tables[setting] = ComparedTable(**vars(super().table(setting)))
        return self._tables[setting]

    def _dataset(self, table: Table, spans: np.ndarray, told: DataReport) -> Dataset:
        return PreferenceDataset(table.parts, spans, told, thumbs=preferences(self.settings).thumbs)


def preferences(settings: Settings) -> PreferenceRenderer:
    """The renderer of these settings."""
    assert isinstance(settings.renderer, PreferenceRenderer)
    return settings.renderer


def prepare_preferences(
    section: Any, renderer: PreferenceRenderer, **settings: Any
) -> tuple[PreferenceDataset, PreferenceDataset | None]:
    """Training and evaluation rows; None where nothing is set apart for evaluation.

    Rows of `data.eval` about prompts that are trained on are kept, counted and warned of.
    """
    making = PreferencePreparation(Settings(section, renderer, stage="preference", **settings))
    train, held = making.train(), making.held()
    assert isinstance(train, PreferenceDataset)
    if held is None:
        return train, None
    assert isinstance(held, PreferenceDataset)
    known = held.known_prompts(train)
    if known:
        logger.warning("%s", told_known(known, len(held)))
    held.report = replace(held.report, known_prompts=known)
    return train, held


def told_known(known: int, number: int) -> str:
    """What held-out rows about prompts that are trained on do to a score."""
    return (
        f"data.eval: {known} of {several(number, 'row')} {'asks' if known == 1 else 'ask'} what rows of data.train "
        "ask, so what is measured was partly seen; without data.eval rows are divided by prompt (data.eval_split)"
    )
