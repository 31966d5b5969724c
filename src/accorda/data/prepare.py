"""From a recipe's data section to the datasets of a run."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from accorda.data.dataset import DataReport, Dataset
from accorda.data.overlong import QUARTER, SPAN, Fitted, fit, fit_sides
from accorda.data.renderer import Renderer
from accorda.data.reporting import Tally
from accorda.data.settings import Settings, Split, Stage
from accorda.data.spill import kept, pieces
from accorda.data.split import held_out, repeated
from accorda.data.table import Table, load
from accorda.errors import Refusal
from accorda.recipe.sections import DataSection
from accorda.recipe.words import several

logger = logging.getLogger(__name__)


def prepare(
    section: DataSection,
    renderer: Renderer,
    *,
    max_length: int,
    stage: Stage = "sft",
    split: Split = "train",
    seed: int = 0,
    store_folder: Path | str | None = None,
) -> Dataset:
    """The rows of a split: of its own sources, or the part of `data.train` that `data.eval_split` sets apart.

    `stage`: "sft" keeps rows; "pretrain" joins them and cuts blocks of `max_length` tokens, all of them supervised.
    `seed` draws the split and the mixture. Tokens are kept in `store_folder` (see `store`). `renderer.kind` is set.
    """
    making = Preparation(Settings(section, renderer, max_length, stage, seed, store_folder))
    if split == "train":
        return making.train()
    held = making.held()
    if held is None:
        raise Refusal("data.eval: no data given, and data.eval_split sets nothing apart")
    return held


def prepare_splits(section: DataSection, renderer: Renderer, **settings: Any) -> tuple[Dataset, Dataset | None]:
    """Training and evaluation rows, by the settings of `prepare`; None where nothing is set apart for evaluation."""
    making = Preparation(Settings(section, renderer, **settings))
    return making.train(), making.held()


class Preparation:
    """The datasets of one section."""

    ways: ClassVar[str] = "skip, truncate_prompt or truncate"
    """What `data.overlong` may say instead of auto."""
    tally: ClassVar[type[Tally]] = Tally

    def __init__(self, settings: Settings):
        self.settings = settings
        self.section = settings.section
        self._tables: dict[Split, Table] = {}

    def table(self, setting: Split) -> Table:
        """All rows (or blocks) of the sources of `data.train` or `data.eval`."""
        if setting not in self._tables:
            self._tables[setting] = load(self.settings, setting)
        return self._tables[setting]

    def train(self) -> Dataset:
        """What is learned: all of `data.train`, less what is set apart, sources mixed by weight."""
        table = self.table("train")
        spans, told = self._fitted(table, self._apart(table), "train")
        if any(origin.weight != 1 for origin in table.origins):
            spans = self._mixed(table, spans)
        if self.settings.strict and not len(spans):
            raise Refusal(f"data.max_length={self.settings.max_length}: not one of {told.rows['seen']} rows fits")
        return self._dataset(table, spans, told)

    def held(self) -> Dataset | None:
        """What is evaluated: `data.eval`, or what is set apart of `data.train`; None where neither holds a row."""
        own = self.section.eval is not None
        table = self.table("eval" if own else "train")
        spans, told = self._fitted(table, self._apart(table), "eval")
        if len(spans):
            return self._dataset(table, spans, told)
        if told.rows["overlong"] and self.settings.strict and not (own and self.settings.renderer.kind == "text"):
            where, number = "data.eval" if own else "data.eval_split", told.rows["overlong"]
            limit = f"data.max_length={self.settings.max_length}"
            logger.warning("%s: not one of %s fits in %s; nothing is held out", where, several(number, "row"), limit)
        return None

    def _apart(self, table: Table) -> np.ndarray:
        """Which rows of `data.train` are set apart, (n,)."""
        share = self.section.eval_split if self.section.eval is None else 0.0
        return held_out(table.digests, share, self.settings.seed)

    def _dataset(self, table: Table, spans: np.ndarray, told: DataReport) -> Dataset:
        blocks = self.settings.stage == "pretrain"
        return Dataset(table.parts, spans, told, everything=blocks, two_sides=table.two_sides)

    def _fitted(self, table: Table, apart: np.ndarray, split: Split) -> tuple[np.ndarray, DataReport]:
        """The spans of a split that fit, and a report on all of them."""
        tally = self.tally(self.settings, table, split)
        own = split == "eval" and self.section.eval is not None

        def fitted() -> Iterator[np.ndarray]:
            for piece, out in zip(pieces(table.spans), pieces(apart), strict=True):
                chosen = piece if own else piece[out == (split == "eval")]
                found = self._fit(table, chosen)
                tally.add(chosen, found)
                yield found.spans

        spans, told = kept(fitted(), SPAN), tally.report()
        if self.settings.strict:
            self._judge(told, tally)
        return spans, told

    def _mixed(self, table: Table, spans: np.ndarray) -> np.ndarray:
        """The spans as often as the weights of their sources say."""
        taken = []
        for part, origin in enumerate(table.origins):
            mine = np.flatnonzero(spans["part"] == part)
            taken.append(mine[repeated(len(mine), origin.weight, self.settings.seed, part)])
        return kept((spans[piece] for piece in pieces(np.concatenate(taken))), SPAN)

    def _fit(self, table: Table, spans: np.ndarray) -> Fitted:
        longest, policy = self.settings.max_length, self.section.overlong
        num_prefix = len(self.settings.renderer.tokens.prefix)
        if table.two_sides:
            return fit_sides(spans, table.column("prompt", spans), longest, policy, num_prefix)
        first = table.column("first", spans) if self.settings.stage == "sft" else np.zeros(len(spans), np.int64)
        return fit(spans, first, longest, policy, num_prefix)

    def _judge(self, told: DataReport, tally: Tally) -> None:
        lost, limit = tally.num_lost, f"data.max_length={self.settings.max_length}"
        if lost and self.section.overlong == "error":
            row = told.overlong_rows[0]
            raise Refusal(
                f"{row['file']}:{row['line']}: {row['tokens']} tokens, more than {limit} ({lost} such rows), and "
                "data.overlong=error"
            )
        drawn = told.split == "eval" and self.section.eval is None  # a few of the same rows: the others were judged
        number = tally.num_rows
        if self.section.overlong == "auto" and not drawn and lost > QUARTER * number:
            needed = tally.size_at(np.ceil((1 - QUARTER) * (number - 1)))
            raise Refusal(
                f"{limit}: {lost} of {number} {told.split} rows are longer (half of all over "
                f"{told.lengths['p50']} tokens, the longest {told.lengths['p100']}), more than a quarter: say "
                f"data.overlong={self.ways}, or data.max_length={needed} if the model takes it"
            )
