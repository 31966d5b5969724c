"""From a recipe's data section to the labelled rows of a run.

`data.overlong` auto is `truncate` here: a text whose end is cut still has its label, and the field cuts. `skip` and
`error` do what they do elsewhere.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from accorda.data.dataset import DataReport, Dataset
from accorda.data.labelled.dataset import LabelledDataset, counted
from accorda.data.labelled.renderer import LabelledRenderer
from accorda.data.overlong import Fitted, span_lengths
from accorda.data.prepare import Preparation
from accorda.data.reporting import Tally
from accorda.data.settings import Settings
from accorda.data.table import Table
from accorda.errors import Refusal

CUTTING = ("auto", "truncate")


class LabelledTally(Tally):
    """Counts rows that are cut when they are read; a cut row still has its one label."""

    def tokens_of(self, fitted: Fitted) -> int:
        return int(np.minimum(span_lengths(fitted.spans), self.settings.max_length).sum())

    def supervised_of(self, fitted: Fitted) -> int:
        return int(self.table.column("supervised", fitted.spans).sum())


class LabelledPreparation(Preparation):
    """The datasets of one section."""

    tally = LabelledTally

    def _fit(self, table: Table, spans: np.ndarray) -> Fitted:
        policy = self.section.overlong
        if policy == "truncate_prompt":
            raise Refusal(
                "data.overlong = truncate_prompt: rows with labels have no prompt; say truncate, skip or error"
            )
        long = span_lengths(spans) > self.settings.max_length
        kept = np.ones(len(spans), np.bool_) if policy in CUTTING else ~long
        return Fitted(spans[kept], np.flatnonzero(kept), (long & kept)[kept])

    def train(self) -> Dataset:
        frame = labelled(self.settings).frame
        least = frame.front + frame.between + frame.behind + 2
        if self.settings.max_length < least:
            raise Refusal(
                f"data.max_length = {self.settings.max_length}: special tokens alone take {least - 2}; use more"
            )
        return super().train()

    def _dataset(self, table: Table, spans: np.ndarray, told: DataReport) -> Dataset:
        made = LabelledDataset(table.parts, spans, told, labelled(self.settings), self.settings.max_length)
        made.report = replace(told, labels=counted(made)) if len(made) else told
        return made


def labelled(settings: Settings) -> LabelledRenderer:
    """The renderer of these settings."""
    assert isinstance(settings.renderer, LabelledRenderer)
    return settings.renderer


def prepare_labelled(section: Any, renderer: LabelledRenderer, **settings: Any) -> tuple[Dataset, Dataset | None]:
    """Training and evaluation rows; None where nothing is set apart for evaluation."""
    making = LabelledPreparation(Settings(section, renderer, stage="classify", **settings))
    return making.train(), making.held()
