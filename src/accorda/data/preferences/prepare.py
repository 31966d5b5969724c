"""From a recipe's data section to the compared answers of a run.

Rows that do not fit are left out, whatever they would lose: an answer cut at its end, of one side only, would teach
that people prefer what is cut. All rows of one prompt stand on one side of the split.
"""

import logging
from dataclasses import replace
from typing import Any

import numpy as np

from accorda.data.dataset import DataReport, Dataset
from accorda.data.example import Example
from accorda.data.overlong import Fitted
from accorda.data.preferences.dataset import PreferenceDataset, borders_of, prompt_of
from accorda.data.preferences.renderer import PreferenceRenderer
from accorda.data.prepare import Preparation
from accorda.data.settings import Settings, Split
from accorda.data.split import held_out
from accorda.data.table import Table
from accorda.errors import Refusal
from accorda.recipe.words import several

logger = logging.getLogger(__name__)

CUTTING = ("truncate", "truncate_prompt")


class ComparedTable(Table):
    """The rows of one setting; a row is as long as its longest answer."""

    def sizes(self, spans: np.ndarray) -> np.ndarray:
        return np.array([np.diff(borders).max() for borders in borders_of(self.parts, spans)], np.int64)


class PreferencePreparation(Preparation):
    """The datasets of one section."""

    ways = "skip"

    def __init__(self, settings: Settings):
        super().__init__(settings)
        if self.section.overlong in CUTTING:
            raise Refusal(
                f"data.overlong = {self.section.overlong}: compared answers are never cut, or what is left of one "
                "would be compared; say skip or error, or raise data.max_length"
            )

    def table(self, setting: Split) -> Table:
        if setting not in self._tables:
            self._tables[setting] = ComparedTable(**vars(super().table(setting)))
        return self._tables[setting]

    def _fit(self, table: Table, spans: np.ndarray) -> Fitted:
        kept = table.sizes(spans) <= self.settings.max_length
        return Fitted(spans[kept], np.flatnonzero(kept), np.zeros(int(kept.sum()), np.bool_))

    def _apart(self, table: Table) -> np.ndarray:
        share = self.section.eval_split if self.section.eval is None else 0.0
        return held_out(prompts(table) if share else table.digests, share, self.settings.seed)

    def _dataset(self, table: Table, spans: np.ndarray, told: DataReport) -> Dataset:
        return PreferenceDataset(table.parts, spans, told, thumbs=preferences(self.settings).thumbs)


def prompts(table: Table) -> np.ndarray:
    """A digest of what was asked, (n,): equal for rows about one prompt."""
    contents = (table.stores[span["part"]].example(int(span["row"])) for span in table.spans)
    return np.array([prompt_of(Example.from_dict(content)) for content in contents], np.uint64)


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
