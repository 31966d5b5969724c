"""Mean absolute error, worked by hand."""

import pytest
from tests.evaluation.metrics.confusion import value

from accorda.evaluation.metric import Row
from accorda.evaluation.metrics.mean_absolute_error import MeanAbsoluteError


@pytest.mark.parametrize(("said", "expected"), [((1.0, 2.0, 4.0), 0.0), ((0.0, 4.0, 4.0), 1.0)])
def test_by_hand(said, expected):
    rows = [Row(predicted_number=a, number=b) for a, b in zip(said, (1.0, 2.0, 4.0), strict=True)]
    assert value(MeanAbsoluteError(), rows) == pytest.approx(expected)
