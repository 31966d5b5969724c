"""The registry of metrics: what is there, how it is read, what is refused."""

import dataclasses
from pathlib import Path

import pytest

from accorda.errors import Refusal
from accorda.evaluation.metrics.exact_match import ExactMatch
from accorda.evaluation.registry import metrics, read_metric, read_metrics


def test_the_folder_is_the_registry_and_every_metric_has_its_test():
    assert set(metrics()) >= {"perplexity", "eval_loss", "exact_match", "f1", "rouge", "bleu"}
    tests = Path(__file__).parent / "metrics"
    for name, cls in metrics().items():
        assert cls.__module__ == f"accorda.evaluation.metrics.{name}"
        assert cls.needs in ("likelihood", "generations", "classes", "numbers", "preferences")
        assert cls.direction in ("higher", "lower")
        assert dataclasses.is_dataclass(cls)
        assert (tests / f"test_{name}.py").is_file()


def test_a_metric_is_read_by_name_with_options_or_as_it_is():
    assert read_metric("exact_match") == ExactMatch()
    assert read_metric({"name": "exact_match", "normalise": "squad"}) == ExactMatch(normalise="squad")
    assert read_metric(ExactMatch(normalise="none")) == ExactMatch(normalise="none")
    assert list(read_metrics("f1, rouge,perplexity")) == ["f1", "rouge", "perplexity"]


def test_what_is_refused():
    with pytest.raises(Refusal, match="'perplexty'; did you mean 'perplexity'"):
        read_metric("perplexty")
    with pytest.raises(Refusal, match="there are accuracy, bleu, eval_loss"):
        read_metric("wer")
    with pytest.raises(Refusal, match="normalize"):
        read_metric({"name": "exact_match", "normalize": "squad"})
