"""Datasets of rows about prompts: none is cut, and all rows of one prompt stand on one side of the split.

An answer cut at its end, of one side only, would teach that people prefer what is cut; a prompt cut is another one. So
rows that do not fit are left out, whatever they would lose.
"""

from typing import ClassVar

import numpy as np

from accorda.data.example import Example
from accorda.data.overlong import Fitted
from accorda.data.preferences.dataset import prompt_of
from accorda.data.prepare import Preparation
from accorda.data.settings import Settings
from accorda.data.split import held_out
from accorda.data.table import Table
from accorda.errors import Refusal

CUTTING = ("truncate", "truncate_prompt")


class PreparationByPrompt(Preparation):
    """The datasets of one section; `never_cut` says why they are not."""

    ways = "skip"
    never_cut: ClassVar[str]

    def __init__(self, settings: Settings):
        super().__init__(settings)
        if self.section.overlong in CUTTING:
            raise Refusal(
                f"data.overlong = {self.section.overlong}: {self.never_cut}; say skip or error, or raise "
                "data.max_length"
            )

    def _fit(self, table: Table, spans: np.ndarray) -> Fitted:
        kept = table.sizes(spans) <= self.settings.max_length
        return Fitted(spans[kept], np.flatnonzero(kept), np.zeros(int(kept.sum()), np.bool_))

    def _apart(self, table: Table) -> np.ndarray:
        share = self.section.eval_split if self.section.eval is None else 0.0
        return held_out(prompts(table) if share else table.digests, share, self.settings.seed)


def prompts(table: Table) -> np.ndarray:
    """A digest of what was asked, (n,): equal for rows about one prompt."""
    contents = (table.stores[span["part"]].example(int(span["row"])) for span in table.spans)
    return np.array([prompt_of(Example.from_dict(content)) for content in contents], np.uint64)
