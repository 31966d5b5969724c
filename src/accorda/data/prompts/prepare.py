"""From a recipe's data section to the prompts of a run. A prompt that leaves no room for an answer is left out."""

from typing import Any

import numpy as np

from accorda.data.by_prompt import PreparationByPrompt
from accorda.data.dataset import DataReport, Dataset
from accorda.data.prompts.dataset import PromptDataset
from accorda.data.prompts.renderer import PromptRenderer
from accorda.data.settings import Settings
from accorda.data.table import Table


class PromptPreparation(PreparationByPrompt):
    """The datasets of one section."""

    never_cut = "a prompt is answered as it is or not at all"

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
