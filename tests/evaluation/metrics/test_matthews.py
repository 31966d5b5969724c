"""Matthews correlation: the formula of two classes, and the correlation of indicator vectors for more."""

import numpy as np
import pytest
from tests.evaluation.metrics.confusion import rows_of, value

from accorda.evaluation.metrics.matthews import Matthews


def test_two_classes_by_the_formula_of_1975():
    meant, said = [1, 1, 1, 1, 0, 0, 0, 0, 0, 0], [1, 1, 1, 0, 1, 1, 0, 0, 0, 0]
    tp, fn, fp, tn = 3, 1, 2, 4
    expected = (tp * tn - fp * fn) / np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    assert value(Matthews(), rows_of(meant, said, 2)) == pytest.approx(expected)


def test_more_classes_are_the_correlation_of_indicators():
    generator = np.random.default_rng(0)
    meant, said = generator.integers(3, size=40), generator.integers(3, size=40)
    x, y = np.eye(3)[meant], np.eye(3)[said]
    x, y = x - x.mean(0), y - y.mean(0)
    expected = (x * y).sum() / np.sqrt((x * x).sum() * (y * y).sum())
    assert value(Matthews(), rows_of(meant.tolist(), said.tolist(), 3)) == pytest.approx(expected)


def test_one_class_alone_is_no_correlation():
    assert value(Matthews(), rows_of([0, 1, 1], [1, 1, 1], 2)) == 0.0
    assert value(Matthews(), rows_of([0, 1, 2], [0, 1, 2], 3)) == pytest.approx(1.0)
