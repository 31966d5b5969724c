"""Pearson correlation against numpy's."""

import numpy as np
import pytest
from tests.evaluation.metrics.confusion import value

from accorda.evaluation.metric import Row
from accorda.evaluation.metrics.pearson import Pearson


def test_as_numpy_computes_it():
    x, y = np.random.default_rng(0).normal(size=(2, 30))
    rows = [Row(predicted_number=a, number=b) for a, b in zip(x, y, strict=True)]
    assert value(Pearson(), rows) == pytest.approx(np.corrcoef(x, y)[0, 1])


def test_a_constant_prediction_is_no_correlation():
    assert value(Pearson(), [Row(predicted_number=0.5, number=b) for b in (1.0, 2.0, 4.0)]) == 0.0
