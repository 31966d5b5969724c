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
from accorda.data.reporting import report
from accorda.data.settings import Settings, Split
from accorda.data.table import Table
from accorda.errors import Refusal

CUTTING = ("auto", "truncate")


class LabelledPreparation(Preparation):
    """The datasets of one section."""

    def _fitted(self, table: Table, chosen: np.ndarray, split: Split) -> tuple[Fitted, DataReport]:
        policy, most = self.section.overlong, self.settings.max_length
        if policy == "truncate_prompt":
            raise Refusal(
                "data.overlong = truncate_prompt: rows with labels have no prompt; say truncate, skip or error"
            )
        spans = table.spans[chosen]
        long = span_lengths(spans) > most
        kept = np.ones(len(spans), np.bool_) if policy in CUTTING else ~long
        fitted = Fitted(spans[kept], np.flatnonzero(kept), (long & kept)[kept])
        told = report(self.settings, table, spans, uncut(fitted), split)
        tokens = int(np.minimum(span_lengths(fitted.spans), most).sum())
        told = replace(told, tokens=tokens, rows=told.rows | {"truncated": int(fitted.shortened.sum())})
        if self.settings.strict:
            self._judge(told, spans)
        return fitted, told

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


def uncut(fitted: Fitted) -> Fitted:
    """As if none were cut: a cut row still has its one label."""
    return Fitted(fitted.spans, fitted.kept, np.zeros_like(fitted.shortened))


def prepare_labelled(section: Any, renderer: LabelledRenderer, **settings: Any) -> tuple[Dataset, Dataset | None]:
    """Training and evaluation rows; None where nothing is set apart for evaluation."""
    making = LabelledPreparation(Settings(section, renderer, stage="classify", **settings))
    return making.train(), making.held()
