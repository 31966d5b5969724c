"""Accuracy, worked by hand."""

import pytest
from tests.evaluation.metrics.confusion import rows_of, value

from accorda.evaluation.metrics.accuracy import Accuracy


@pytest.mark.parametrize(("said", "expected"), [([0, 1, 2, 2], 1.0), ([0, 0, 2, 1], 0.5), ([1, 2, 0, 0], 0.0)])
def test_by_hand(said, expected):
    assert value(Accuracy(), rows_of([0, 1, 2, 2], said, 3)) == pytest.approx(expected)
