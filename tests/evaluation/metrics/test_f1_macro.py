"""Macro F1, worked by hand and against the definition."""

import pytest
from tests.evaluation.metrics.confusion import rows_of, value

from accorda.evaluation.metrics.f1_macro import F1Macro


def test_by_hand():
    # class 0: precision 1/2, recall 1, F1 2/3; class 1: precision 1, recall 2/3, F1 4/5
    assert value(F1Macro(), rows_of([0, 1, 1, 1], [0, 0, 1, 1], 2)) == pytest.approx((2 / 3 + 4 / 5) / 2)


def test_a_class_that_is_neither_said_nor_meant_does_not_count():
    assert value(F1Macro(), rows_of([0, 1, 1, 1], [0, 0, 1, 1], 9)) == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert value(F1Macro(), rows_of([0, 0, 0], [0, 0, 1], 3)) == pytest.approx((4 / 5 + 0) / 2)


def test_always_the_common_class_is_worth_little():
    assert value(F1Macro(), rows_of([0] * 9 + [1], [0] * 10, 2)) == pytest.approx((18 / 19) / 2)
