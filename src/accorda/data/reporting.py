"""What became of the rows: the counts and places that runs, proofs and `data check` show."""

from collections import Counter
from typing import Any

import numpy as np

from accorda.data.dataset import DataReport
from accorda.data.overlong import Fitted, span_lengths
from accorda.data.settings import Settings, Split
from accorda.data.spill import forget
from accorda.data.table import Table

LISTED = 20
"""How many bad and over-long rows a report lists; it counts them all."""


class Tally:
    """Counts rows, given piece by piece, before (`spans`) and after (`fitted`) the policy on long ones."""

    def __init__(self, settings: Settings, table: Table, split: Split):
        self.settings, self.table, self.split = settings, table, split
        self.everything = settings.stage == "pretrain"
        self.sizes: Counter[int] = Counter()
        """How many rows have a size, which is what `max_length` bounds, in tokens."""
        self.given, self.kept = (np.zeros(len(table.stores), np.int64) for _ in range(2))
        self.shortened = self.tokens = self.supervised = self.supervised_before = 0
        """Rows that were cut, tokens kept, and those that are supervised, after the policy and before it."""
        self.lost: list[np.void] = []
        """The first rows that were left out."""

    def add(self, spans: np.ndarray, fitted: Fitted) -> None:
        """Count rows of a split, of which `fitted` were kept."""
        values, times = np.unique(self.table.sizes(spans), return_counts=True)
        self.sizes.update(dict(zip(values.tolist(), times.tolist(), strict=True)))
        self.given += np.bincount(spans["part"], minlength=len(self.given))
        self.kept += np.bincount(fitted.spans["part"], minlength=len(self.kept))
        self.shortened += int(fitted.shortened.sum())
        tokens = self.tokens_of(fitted)
        before = span_lengths(spans) if self.everything else self.table.column("supervised", spans)
        self.tokens += tokens
        self.supervised_before += int(before.sum())
        self.supervised += tokens if self.everything else self.supervised_of(fitted)
        left_out = np.delete(np.arange(len(spans)), fitted.kept)
        self.lost += list(spans[left_out[: LISTED - len(self.lost)]])

    def tokens_of(self, fitted: Fitted) -> int:
        """Tokens of the rows kept."""
        return int(span_lengths(fitted.spans).sum())

    def supervised_of(self, fitted: Fitted) -> int:
        """Those of them that are supervised: of a shortened row they are counted again."""
        total = int(self.table.column("supervised", fitted.spans[~fitted.shortened]).sum())
        for span in fitted.spans[fitted.shortened]:
            flags = self.table.stores[span["part"]].supervised
            total += int(flags[span["start"] : span["start"] + span["head"]].sum())
            total += int(flags[span["cut"] : span["end"]].sum())
        for store in self.table.stores:
            forget(store.supervised)
        return total

    @property
    def num_rows(self) -> int:
        """Rows that were given."""
        return int(self.given.sum())

    @property
    def num_lost(self) -> int:
        """Rows that were left out."""
        return self.num_rows - int(self.kept.sum())

    def size_at(self, place: float) -> int:
        """The size of the row at `place`, counted from 0, if rows stood by size."""
        values = sorted(self.sizes)
        reached = np.cumsum([self.sizes[value] for value in values])
        return values[int(np.searchsorted(reached, place, side="right"))]

    def percentiles(self) -> dict[str, int]:
        """Median, 95th percentile and maximum, each the size of a row."""
        shares = {"p50": 0.5, "p95": 0.95, "p100": 1.0}
        number = self.num_rows
        return {name: self.size_at(np.ceil(share * number) - 1) if number else 0 for name, share in shares.items()}

    def report(self) -> DataReport:
        """What was counted."""
        drawn = self.split == "eval" and self.settings.section.eval is None  # bad rows are told with the others
        bad = [] if drawn else _bad(self.table)
        num_bad = sum(store.num_bad for store in self.table.stores) if bad else 0
        rendered = self.settings.renderer
        return DataReport(
            split=self.split,
            sources=self._sources(),
            template=rendered.template_name if rendered.kind == "messages" else None,
            rows={
                "seen": self.num_rows + num_bad,
                "kept": int(self.kept.sum()),
                "skipped": num_bad,
                "overlong": self.num_lost,
                "truncated": self.shortened,
            },
            lengths=self.percentiles(),
            max_length=self.settings.max_length,
            overlong=self.settings.section.overlong,
            tokens=self.tokens,
            supervised_tokens=self.supervised,
            supervised_tokens_lost=self.supervised_before - self.supervised,
            bad_rows=bad[:LISTED],
            overlong_rows=[self._long(span) for span in self.lost],
        )

    def _sources(self) -> list[dict[str, Any]]:
        return [
            {
                "file": origin.shown,
                "format": store.format,
                "columns": store.columns,
                "weight": origin.weight,
                "rows": int(self.given[part]),
                "kept": int(self.kept[part]),
                "bad": store.num_bad,
                "tokens_sha256": store.digest,
            }
            for part, (origin, store) in enumerate(zip(self.table.origins, self.table.stores, strict=True))
        ]

    def _long(self, span: np.void) -> dict[str, Any]:
        file, line = self.table.place(span)
        return {"file": file, "line": line, "tokens": int(self.table.sizes(np.array([span]))[0])}


def _bad(table: Table) -> list[dict[str, Any]]:
    return [
        {"file": origin.shown, "line": line, "reason": reason}
        for origin, store in zip(table.origins, table.stores, strict=True)
        for line, reason in store.bad
    ]
