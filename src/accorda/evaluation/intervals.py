"""Confidence intervals by the bootstrap over rows.

Efron, "Bootstrap Methods: Another Look at the Jackknife", 1979: draw N of the N rows with replacement, compute the
metric again, repeat; the interval lies between two percentiles of what came out. The rows are the only source of
variation it knows: neither the training seed nor the sampling seed is in it. Where all rows or none of them have
something it knows of no variation at all; their share then has the bounds of Clopper and Pearson.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from accorda.evaluation.metric import Metric, Row

NUM_RESAMPLES = 1000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A value and the bounds of its 95% confidence interval."""

    value: float
    low: float
    high: float


def estimate(
    metric: Metric, rows: Sequence[Row], *, seed: int = 0, num_resamples: int = NUM_RESAMPLES
) -> dict[str, Estimate]:
    """The metric over rows, with intervals: a pure function of its arguments. Without resamples they have no width."""
    statistics = np.array([metric.statistics(row) for row in rows], dtype=np.float64)
    values = metric.values(statistics.sum(0))
    generator = np.random.default_rng(seed)
    draws: dict[str, list[float]] = {name: [] for name in values}
    for _ in range(num_resamples):
        chosen = generator.integers(len(rows), size=len(rows))
        for name, value in metric.values(statistics[chosen].sum(0)).items():
            draws[name].append(value)
    ends = (0.0, 1.0) if metric.share and num_resamples else ()
    return {
        name: Estimate(value, *(alike(value, len(rows)) if value in ends else bounds(sorted(draws[name]) or [value])))
        for name, value in values.items()
    }


def estimate_mean(
    values: Sequence[float], *, share: bool = False, seed: int = 0, num_resamples: int = NUM_RESAMPLES
) -> Estimate:
    """The mean of one number per row, with its interval; `share`: each says whether its row has something, 0 or 1."""
    found = np.array(values, dtype=np.float64)
    mean, generator = float(found.mean()), np.random.default_rng(seed)
    if share and mean in (0.0, 1.0):
        return Estimate(mean, *alike(mean, len(found)))
    draws = (found[generator.integers(len(found), size=len(found))].mean() for _ in range(num_resamples))
    return Estimate(mean, *bounds(sorted(float(draw) for draw in draws)))


def alike(value: float, num_rows: int) -> tuple[float, float]:
    """Bounds of a share where no row or every row has it, which the bootstrap would take for certain.

    Clopper and Pearson, 1934: the shares at which so many rows alike still come with probability (1 - 0.95) / 2.
    """
    least = ((1 - CONFIDENCE) / 2) ** (1 / num_rows)
    return (least, 1.0) if value else (0.0, 1 - least)


def bounds(draws: list[float]) -> tuple[float, float]:
    """The percentiles of resampled values, in order, that a 95% interval lies between."""
    outside = round(len(draws) * (1 - CONFIDENCE) / 2)
    return draws[outside], draws[-1 - outside]
