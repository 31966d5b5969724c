"""Ratios of tokens and of sequences."""

import math

import pytest
import torch

from accorda.objectives.policy.ratio import gspo_ratio, sequence_log_ratio, sequence_ratio, token_ratio

MASK = torch.tensor([[1, 1, 0], [1, 1, 1]])
NEW = torch.tensor([[-1.0, -2.0, -5.0], [-1.0, -1.0, -1.0]], dtype=torch.float64)
OLD = torch.tensor([[-1.5, -1.8, -9.0], [-1.0, -1.6, -1.0]], dtype=torch.float64)


def test_by_hand():
    assert token_ratio(NEW, OLD)[0, :2].tolist() == pytest.approx([math.exp(0.5), math.exp(-0.2)])
    assert sequence_log_ratio(NEW, OLD, MASK).tolist() == pytest.approx([0.3, 0.6])
    assert sequence_ratio(NEW, OLD, MASK).tolist() == [pytest.approx([math.exp(0.3)]), pytest.approx([math.exp(0.6)])]
    assert gspo_ratio(NEW, OLD, MASK).tolist() == [pytest.approx([math.exp(0.15)]), pytest.approx([math.exp(0.2)])]


def test_the_same_policy_gives_exactly_one():
    for ratio in (token_ratio(NEW, NEW), sequence_ratio(NEW, NEW, MASK), gspo_ratio(NEW, NEW, MASK)):
        assert (ratio == 1).all()


def test_padding_counts_for_nothing_whatever_it_holds():
    padded = NEW.masked_fill(MASK == 0, float("nan"))
    assert torch.equal(sequence_ratio(padded, OLD, MASK), sequence_ratio(NEW, OLD, MASK))
    assert torch.equal(gspo_ratio(padded, OLD, MASK), gspo_ratio(NEW, OLD, MASK))


def test_no_ratio_overflows():
    far = torch.full((1, 3), 500.0)
    for ratio in (token_ratio(far, -far), sequence_ratio(far, -far, torch.ones(1, 3)), token_ratio(-far, far)):
        assert torch.isfinite(ratio).all()
        assert (ratio > 0).all()
