"""Compared answers and what a run, or a rule without a model, says of them, for `real_preferences`."""

from dataclasses import dataclass, replace
from itertools import compress
from typing import Any


@dataclass(frozen=True)
class Judged:
    """Held-out rows as accorda's evaluation takes them, with what a run, or a rule, says of their answers."""

    segments: list[Any]
    found: list[tuple[float, list[float]]]

    def said(self, rule: Any) -> "Judged":
        """The same rows by a rule (segment) -> a number for each answer."""
        return Judged(self.segments, [(0.0, rule(segment)) for segment in self.segments])

    def only(self, wanted: list[bool]) -> "Judged":
        """Some of the rows."""
        return Judged(list(compress(self.segments, wanted)), list(compress(self.found, wanted)))

    def accuracy(self) -> dict[str, float]:
        """Share of pairs in order, and its interval."""
        from accorda.evaluation.intervals import estimate
        from accorda.evaluation.metrics.preference_accuracy import PreferenceAccuracy
        from accorda.evaluation.preferences.judge import rows_of

        return told(estimate(PreferenceAccuracy(), rows_of(self.segments, self.found))["preference_accuracy"])


def pooled(runs: list[Judged]) -> dict[str, Any]:
    """The rows of several runs together."""
    rows = Judged([row for run in runs for row in run.segments], [each for run in runs for each in run.found])
    return {"pairs": num_pairs(rows), "accuracy": rows.accuracy(), "picks_longer": picks_longer(rows), **rules(rows)}


def rules(rows: Judged) -> dict[str, Any]:
    """What needs no model: the longer or the shorter answer, the first in the file, a coin."""
    import numpy as np

    coin = np.random.default_rng(0)
    said = {
        "longer": lambda segment: [float(len(answer)) for answer in segment.answers],
        "shorter": lambda segment: [-float(len(answer)) for answer in segment.answers],
        "first_in_the_file": lambda segment: [-float(place) for place in range(len(segment.ranks))],
        "coin": lambda segment: coin.random(len(segment.ranks)).tolist(),
    }
    return {"rules": {name: rows.said(rule).accuracy() for name, rule in said.items()}}


def picks_longer(rows: Judged) -> float:
    """The share of pairs in which the answer with the higher reward is the longer one."""
    lengths = [[-len(answer) for answer in segment.answers] for segment in rows.segments]
    by_length = [replace(segment, ranks=tuple(each)) for segment, each in zip(rows.segments, lengths, strict=True)]
    told_apart = [place for place, each in enumerate(lengths) if len(set(each)) > 1]
    return Judged([by_length[place] for place in told_apart], [rows.found[place] for place in told_apart]).accuracy()[
        "value"
    ]


def num_pairs(rows: Judged) -> int:
    """Strict pairs of all rows."""
    return sum(one < other for segment in rows.segments for one in segment.ranks for other in segment.ranks)


def told(found: Any) -> dict[str, float]:
    """An estimate for JSON."""
    return {name: round(getattr(found, name), 4) for name in ("value", "low", "high")}
