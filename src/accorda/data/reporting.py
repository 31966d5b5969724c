"""What became of the rows: the counts and places that runs, proofs and `data check` show."""

from typing import Any

import numpy as np

from accorda.data.dataset import DataReport
from accorda.data.overlong import Fitted, span_lengths
from accorda.data.settings import Settings, Split
from accorda.data.table import Table

LISTED = 20
"""How many bad and over-long rows a report lists; it counts them all."""


def report(settings: Settings, table: Table, spans: np.ndarray, fitted: Fitted, split: Split) -> DataReport:
    """The report on the `spans` of a split, of which `fitted` were kept."""
    fits = np.zeros(len(spans), np.bool_)
    fits[fitted.kept] = True
    lost = np.flatnonzero(~fits)
    bad = [] if split == "eval" and settings.section.eval is None else _bad(table)
    num_bad = sum(store.num_bad for store in table.stores) if bad else 0
    shortened = int(fitted.shortened.sum())
    everything = settings.stage == "pretrain"
    before = int(span_lengths(spans).sum()) if everything else int(table.column("supervised", spans).sum())
    tokens = int(span_lengths(fitted.spans).sum())
    supervised = tokens if everything else _supervised(table, fitted)
    return DataReport(
        split=split,
        sources=_sources(table, spans, fitted),
        template=settings.renderer.template_name if settings.renderer.kind == "messages" else None,
        rows={
            "seen": len(spans) + num_bad,
            "kept": len(fitted.spans),
            "skipped": num_bad,
            "overlong": len(lost),
            "truncated": shortened,
        },
        lengths=percentiles(table.sizes(spans)),
        max_length=settings.max_length,
        overlong=settings.section.overlong,
        tokens=tokens,
        supervised_tokens=supervised,
        supervised_tokens_lost=before - supervised,
        bad_rows=bad[:LISTED],
        overlong_rows=[_long(table, spans, row) for row in lost[:LISTED].tolist()],
    )


def percentiles(lengths: np.ndarray) -> dict[str, int]:
    """Median, 95th percentile and maximum, each the length of a row."""
    if not len(lengths):
        return {"p50": 0, "p95": 0, "p100": 0}
    values = np.quantile(lengths, (0.5, 0.95, 1.0), method="inverted_cdf")
    return dict(zip(("p50", "p95", "p100"), (int(value) for value in values), strict=True))


def _supervised(table: Table, fitted: Fitted) -> int:
    whole = fitted.spans[~fitted.shortened] if fitted.shortened.any() else fitted.spans
    total = int(table.column("supervised", whole).sum())
    for span in fitted.spans[fitted.shortened]:
        flags = table.stores[span["part"]].supervised
        total += int(flags[span["start"] : span["start"] + span["head"]].sum())
        total += int(flags[span["cut"] : span["end"]].sum())
    return total


def _sources(table: Table, spans: np.ndarray, fitted: Fitted) -> list[dict[str, Any]]:
    return [
        {
            "file": origin.shown,
            "format": store.format,
            "columns": store.columns,
            "weight": origin.weight,
            "rows": int(np.count_nonzero(spans["part"] == part)),
            "kept": int(np.count_nonzero(fitted.spans["part"] == part)),
            "bad": store.num_bad,
            "tokens_sha256": store.digest,
        }
        for part, (origin, store) in enumerate(zip(table.origins, table.stores, strict=True))
    ]


def _bad(table: Table) -> list[dict[str, Any]]:
    return [
        {"file": origin.shown, "line": line, "reason": reason}
        for origin, store in zip(table.origins, table.stores, strict=True)
        for line, reason in store.bad
    ]


def _long(table: Table, spans: np.ndarray, row: int) -> dict[str, Any]:
    span = spans[row]
    file, line = table.place(span)
    return {"file": file, "line": line, "tokens": int(table.sizes(spans[row : row + 1])[0])}
