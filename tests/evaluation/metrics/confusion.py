"""Rows of classes, for the metrics of them."""

from accorda.evaluation.intervals import estimate
from accorda.evaluation.metric import Metric, Row


def rows_of(meant: list[int], said: list[int], num_classes: int) -> list[Row]:
    return [Row(label=a, predicted=b, num_classes=num_classes) for a, b in zip(meant, said, strict=True)]


def value(metric: Metric, rows: list[Row]) -> float:
    (found,) = estimate(metric, rows, num_resamples=50).values()
    assert found.low <= found.value <= found.high or len(rows) < 3
    return found.value
