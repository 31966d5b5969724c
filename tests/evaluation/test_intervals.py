"""Bootstrap intervals: seeded, ordered, and of the width the textbook formula gives."""

import numpy as np
import pytest

from accorda.evaluation.intervals import estimate, estimate_mean
from accorda.evaluation.metric import Row
from accorda.evaluation.metrics.bleu import Bleu
from accorda.evaluation.metrics.exact_match import ExactMatch

ROWS = [Row("yes", ("yes" if index % 10 < 3 else "no",)) for index in range(400)]


def test_width_is_the_normal_interval_of_a_share():
    found = estimate(ExactMatch(), ROWS)["exact_match"]
    half = 1.96 * np.sqrt(0.3 * 0.7 / 400)
    assert found.value == pytest.approx(0.3)
    assert found.high - found.value == pytest.approx(half, rel=0.15)
    assert found.value - found.low == pytest.approx(half, rel=0.15)


def test_the_same_seed_gives_the_same_interval_and_another_seed_another():
    rows = [Row("a b c d " + "e f " * index, ("a b c d " + "g h " * (index % 5),)) for index in range(20)]
    assert estimate(Bleu(), rows, seed=1) == estimate(Bleu(), rows, seed=1)
    assert estimate(Bleu(), rows, seed=1) != estimate(Bleu(), rows, seed=2)


def test_the_true_value_lies_inside_about_ninety_five_times_in_a_hundred():
    generator = np.random.default_rng(0)
    inside = 0
    for trial in range(200):
        rows = [Row("yes", ("yes" if draw < 0.4 else "no",)) for draw in generator.random(100)]
        found = estimate(ExactMatch(), rows, seed=trial)["exact_match"]
        inside += found.low <= 0.4 <= found.high
    assert 180 <= inside <= 199


@pytest.mark.parametrize(("answer", "bounds"), [("yes", (0.6915, 1.0)), ("no", (0.0, 0.3085))])
def test_rows_that_are_all_alike_do_not_make_certain(answer, bounds):
    found = estimate(ExactMatch(), [Row(answer, ("yes",))] * 10)["exact_match"]
    assert (found.low, found.high) == pytest.approx(bounds, abs=1e-4)  # .025 ** (1 / 10)
    none = estimate(ExactMatch(), [Row(answer, ("yes",))] * 10, num_resamples=0)["exact_match"]
    assert none.low == none.high == none.value


def test_the_mean_of_one_number_per_row_has_the_interval_of_the_metric_that_is_one():
    values = [float(row.references == (row.completion,)) for row in ROWS]
    assert estimate_mean(values) == estimate_mean(values, share=True) == estimate(ExactMatch(), ROWS)["exact_match"]


@pytest.mark.parametrize(("value", "bounds"), [(1.0, (0.6915, 1.0)), (0.0, (0.0, 0.3085))])
def test_a_share_of_all_or_nothing_is_not_certain_and_equal_numbers_are(value, bounds):
    found = estimate_mean([value] * 10, share=True)
    assert (found.low, found.high) == pytest.approx(bounds, abs=1e-4)
    plain = estimate_mean([value] * 10)
    assert plain.low == plain.value == plain.high == value
