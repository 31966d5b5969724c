"""Perplexity, worked by hand."""

import math

import pytest

from accorda.evaluation.intervals import estimate
from accorda.evaluation.metric import Row
from accorda.evaluation.metrics.perplexity import Perplexity


def test_a_uniform_model_is_as_perplexed_as_it_has_words():
    rows = [Row(log_likelihood=3 * math.log(1 / 8), num_tokens=3), Row(log_likelihood=math.log(1 / 8), num_tokens=1)]
    assert estimate(Perplexity(), rows)["perplexity"].value == pytest.approx(8)


def test_the_exponential_is_taken_of_the_mean_over_all_tokens():
    rows = [Row(log_likelihood=-8.0, num_tokens=1), Row(log_likelihood=-2.0, num_tokens=4)]
    found = estimate(Perplexity(), rows)["perplexity"]
    assert found.value == pytest.approx(math.exp(2.0))
    assert found.low == pytest.approx(math.exp(0.5))  # the row of 0.5 nats per token drawn twice
    assert found.high == pytest.approx(math.exp(8.0))


def test_a_hopeless_model_is_infinitely_perplexed_without_a_warning():
    assert estimate(Perplexity(), [Row(log_likelihood=-1e6, num_tokens=1)])["perplexity"].value == math.inf
