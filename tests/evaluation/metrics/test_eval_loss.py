"""Evaluation loss, worked by hand."""

import math

import pytest

from accorda.evaluation.intervals import estimate
from accorda.evaluation.metric import Row
from accorda.evaluation.metrics.eval_loss import EvalLoss


def test_every_token_weighs_the_same():
    rows = [Row(log_likelihood=-8.0, num_tokens=1), Row(log_likelihood=-2.0, num_tokens=4)]
    assert estimate(EvalLoss(), rows)["eval_loss"].value == 2.0  # 10 nats over 5 tokens; the mean over rows were 4.25


def test_a_uniform_model_over_eight_words_has_ln_8():
    rows = [Row(log_likelihood=3 * math.log(1 / 8), num_tokens=3), Row(log_likelihood=math.log(1 / 8), num_tokens=1)]
    found = estimate(EvalLoss(), rows)["eval_loss"]
    assert found.value == pytest.approx(math.log(8))
    assert (found.low, found.high) == pytest.approx((math.log(8), math.log(8)))
