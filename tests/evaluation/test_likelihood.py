"""Likelihoods of rows against whole forwards written out naively."""

import math

import numpy as np
import pytest
import torch
from tests.zoo import DECODERS, make
from transformers import AutoModelForCausalLM, AutoTokenizer

from accorda.data.batch import Segment
from accorda.evaluation.intervals import estimate
from accorda.evaluation.likelihood import likelihoods
from accorda.evaluation.metrics.eval_loss import EvalLoss
from accorda.evaluation.metrics.perplexity import Perplexity
from accorda.objectives import language_model


def segment(ids, supervised, index=0):
    return Segment(index, np.array(ids, np.int32), np.array(supervised, np.bool_), "rows", index)


def random_segments(lengths, seed=0):
    generator = np.random.default_rng(seed)
    return [
        segment(generator.integers(3, 67, length), np.arange(length) >= generator.integers(0, length - 1), index)
        for index, length in enumerate(lengths)
    ]


@torch.no_grad()
def naive(model, segment):
    """Sum and number of log-probabilities of the supervised tokens, one whole forward, one token at a time."""
    logits = model(torch.tensor([segment.input_ids.tolist()])).logits[0].double()
    places = [place for place in range(1, len(segment)) if segment.supervised[place]]
    return sum(float(logits[at - 1].log_softmax(-1)[segment.input_ids[at]]) for at in places), len(places)


@pytest.mark.parametrize("architecture", DECODERS)
def test_equals_the_naive_sums_in_the_order_given(architecture):
    model, segments = make(architecture), random_segments([5, 17, 2, 9, 9, 30, 3])
    rows = likelihoods(model, segments, batch_size=3)
    for row, one in zip(rows, segments, strict=True):
        total, count = naive(model, one)
        assert row.num_tokens == count
        assert row.log_likelihood == pytest.approx(total, abs=1e-4)


def test_modes_are_restored_and_dropout_is_off():
    model = make("gpt2", resid_pdrop=0.5)
    expected = likelihoods(model, random_segments([7, 8]))
    model.train()
    assert likelihoods(model, random_segments([7, 8])) == expected
    assert model.training


def test_logits_exist_for_one_chunk_at_a_time(monkeypatch):
    model, segments = make("llama"), random_segments([40] * 6)
    expected = likelihoods(model, segments, batch_size=6)
    sizes = []
    model.lm_head.register_forward_hook(lambda module, args, logits: sizes.append(logits.numel()))
    monkeypatch.setattr(language_model, "MOST_LOGITS", 67 * 10)
    found = likelihoods(model, segments, batch_size=6)
    assert max(sizes) == 67 * 10
    assert len(sizes) > 5
    for one, other in zip(found, expected, strict=True):
        assert one.log_likelihood == pytest.approx(other.log_likelihood, abs=1e-4)


def test_real_weights_on_real_text(shared, stories):
    """1.7192 nats per token on the sample's first 512 tokens, as one whole forward of transformers gives."""
    tokenizer = AutoTokenizer.from_pretrained(stories)
    model = AutoModelForCausalLM.from_pretrained(stories).eval()
    text = (shared / "data" / "tinystories" / "tinystories_sample.txt").read_text(encoding="utf-8")[:1200].strip()
    ids = tokenizer(text).input_ids[:512]
    rows = likelihoods(model, [segment(ids, [True] * 512)])
    with torch.no_grad():
        reference = float(model(torch.tensor([ids]), labels=torch.tensor([ids])).loss)
    loss = estimate(EvalLoss(), rows)["eval_loss"].value
    assert loss == pytest.approx(reference, abs=1e-5) == pytest.approx(1.7192, abs=1e-3)
    assert estimate(Perplexity(), rows)["perplexity"].value == pytest.approx(math.exp(reference), rel=1e-5)
