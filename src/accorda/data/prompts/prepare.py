"""From a recipe's data section to the prompts of a run. A prompt that leaves no room for an answer is left out."""

from typing import Any

import numpy as np

from accorda.data.dataset import DataReport, Dataset
from accorda.data.overlong import Fitted
from accorda.data.preferences.prepare import prompts
from accorda.data.prepare import Preparation
from accorda.data.prompts.dataset import PromptDataset
from accorda.data.prompts.renderer import PromptRenderer
from accorda.data.settings import Settings
from accorda.data.split import held_out
from accorda.data.table import Table
from accorda.errors import Refusal

CUTTING = ("truncate", "truncate_prompt")


class PromptPreparation(Preparation):
    """The datasets of one section."""

    ways = "skip"

    def __init__(self, settings: Settings):
        super().__init__(settings)
        if self.section.overlong in CUTTING:
            raise Refusal(
                f"data.overlong = {self.section.overlong}: a prompt is answered as it is or not at all; say skip or "
                "error, or raise data.max_length"
            )

    def _fit(self, table: Table, spans: np.ndarray) -> Fitted:
        kept = table.sizes(spans) <= self.settings.max_length
        return Fitted(spans[kept], np.flatnonzero(kept), np.zeros(int(kept.sum()), np.bool_))

    def _apart(self, table: Table) -> np.ndarray:
        share = self.section.eval_split if self.section.eval is None else 0.0
        return held_out(prompts(table) if share else table.digests, share, self.settings.seed)

    def _dataset(self, table: Table, spans: np.ndarray, told: DataReport) -> Dataset:
        return PromptDataset(table.parts, spans, told)


def prepare_prompts(
    section: Any, renderer: PromptRenderer, **settings: Any
) -> tuple[PromptDataset, PromptDataset | None]:
    """Training and evaluation prompts; None where nothing is set apart for evaluation."""
    making = PromptPreparation(Settings(section, renderer, stage="rl", **settings))
    train, held = making.train(), making.held()
    assert isinstance(train, PromptDataset)
    assert held is None or isinstance(held, PromptDataset)
    return train, held
