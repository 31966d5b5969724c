"""Whitening: over the tokens that count, over all shards together, with the biased variance."""

import pytest
import torch

from accorda.objectives.policy.whitening import masked_mean, sums, whiten

MASK = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1]])


def test_mean_zero_and_biased_variance_one_over_the_mask():
    torch.manual_seed(0)
    x = 3 + 2 * torch.randn(3, 4, dtype=torch.float64)
    white = whiten(x, MASK)
    counted = white[MASK.bool()]
    assert counted.mean().item() == pytest.approx(0, abs=1e-12)
    assert counted.var(correction=0).item() == pytest.approx(1, abs=1e-7)
    assert (white[MASK == 0] == 0).all()


def test_the_mean_may_be_put_back():
    """OpenAI's sense of not shifting: (x - mean) / std + mean."""
    x = torch.tensor([[1.0, 3.0, 8.0]], dtype=torch.float64)
    std = x.std(correction=0)
    torch.testing.assert_close(whiten(x, torch.ones(1, 3), shift_mean=False), (x - 4) / std + 4)


def test_padding_changes_nothing_whatever_it_holds():
    x = torch.randn(3, 4)
    wide = torch.cat([x, torch.full((3, 5), float("nan"))], 1)
    wide_mask = torch.cat([MASK, torch.zeros(3, 5, dtype=torch.long)], 1)
    torch.testing.assert_close(whiten(wide, wide_mask)[:, :4], whiten(x, MASK))
    torch.testing.assert_close(masked_mean(wide, wide_mask), masked_mean(x, MASK))


def test_two_shards_by_their_sums_are_one_batch():
    x = torch.randn(3, 4)
    totals = sums(x[:1], MASK[:1]) + sums(x[1:], MASK[1:])
    shards = [whiten(x[rows], MASK[rows], totals) for rows in (slice(0, 1), slice(1, 3))]
    torch.testing.assert_close(torch.cat(shards), whiten(x, MASK))


def test_a_small_spread_around_a_large_mean_survives_fp32():
    x = 10_000 + torch.tensor([[0.0, 0.5, 1.0]])
    torch.testing.assert_close(whiten(x, torch.ones(1, 3)), torch.tensor([[-1.2247449, 0.0, 1.2247449]]))


def test_means_count_tokens_not_rows():
    x = torch.tensor([[1.0, 2.0, 3.0, 9.0], [5.0, 9.0, 9.0, 9.0], [0.0, 0.0, 0.0, 1.0]])
    assert masked_mean(x, MASK).item() == pytest.approx(12 / 8)
    assert masked_mean(x, torch.zeros_like(MASK)).item() == 0
