"""The choice of the next token against transformers' own warpers, and the draws against the probabilities."""

import pytest
import torch
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from accorda.errors import Refusal
from accorda.generation.sampling import Sampling, choose, warped
from accorda.recipe.reader import read

SETTINGS = [
    (1.0, 0, 1.0),
    (0.3, 5, 1.0),
    (1.7, 0, 0.7),
    (1.0, 0, 1e-6),
    (0.8, 12, 0.9),
    (1.0, 200, 0.99),
    (2.0, 1, 1.0),
]


@pytest.mark.parametrize(("temperature", "top_k", "top_p"), SETTINGS)
def test_warped_logits_equal_those_of_transformers(temperature, top_k, top_p):
    logits = 3 * torch.randn(6, 67, generator=torch.Generator().manual_seed(1))
    no_ids = torch.empty(0, dtype=torch.long)
    expected = TemperatureLogitsWarper(temperature)(no_ids, logits)
    if top_k:
        expected = TopKLogitsWarper(top_k)(no_ids, expected)
    if top_p < 1:
        expected = TopPLogitsWarper(top_p)(no_ids, expected)
    found = warped(logits, Sampling(temperature=temperature, top_k=top_k, top_p=top_p))
    assert torch.equal(found, expected)
    assert found.isfinite().any(-1).all()


def test_top_p_keeps_the_smallest_set_that_reaches_it():
    logits = torch.tensor([[0.5, 0.2, 0.2, 0.1]]).log()
    kept = [warped(logits, Sampling(temperature=1.0, top_p=p)).isfinite().sum().item() for p in (0.4, 0.6, 0.8, 0.95)]
    assert kept == [1, 2, 3, 4]


def test_draws_follow_the_probabilities():
    """Pearson's chi-square over 20,000 seeded draws stays below the 99.9% quantile for 4 degrees of freedom."""
    probabilities = torch.tensor([0.4, 0.05, 0.25, 0.2, 0.1], dtype=torch.float64)
    uniforms = torch.rand(20_000, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    logits = probabilities.log().float().expand(20_000, -1)
    counts = choose(logits, Sampling(temperature=1.0), uniforms)[0].bincount(minlength=5)
    expected = probabilities * 20_000
    assert ((counts - expected) ** 2 / expected).sum() < 18.47
    flatter = (probabilities.sqrt() / probabilities.sqrt().sum()) * 20_000
    counts = choose(logits, Sampling(temperature=2.0), uniforms)[0].bincount(minlength=5)
    assert ((counts - flatter) ** 2 / flatter).sum() < 18.47


def test_a_token_outside_the_top_is_never_drawn_not_even_at_the_edges():
    logits = torch.tensor([[0.0, 5.0, 4.9, 0.0]]).expand(3, -1)
    edges = torch.tensor([0.0, 0.5, 1 - 2**-53], dtype=torch.float64)
    assert choose(logits, Sampling(temperature=1.0, top_k=2), edges)[0].tolist() == [1, 1, 2]


@pytest.mark.parametrize("top_p", [1.0, 0.9])
def test_a_draw_is_where_the_number_falls_in_all_cumulated_probabilities(top_p):
    """Of more tokens than a stretch has, and not a multiple of it; the last numbers of a stretch among them."""
    logits = 3 * torch.randn(64, 1000, generator=torch.Generator().manual_seed(4))
    logits[:, 200:300] = -torch.inf
    sampling = Sampling(temperature=1.0, top_p=top_p)
    cumulated = warped(logits, sampling).double().softmax(-1).cumsum(-1)
    ends = [torch.zeros(64, dtype=torch.float64), torch.full((64,), 1 - 2**-53, dtype=torch.float64)]
    ends += [cumulated[:, place] for place in (199, 255, 300, 511, 999)]
    for numbers in [*ends, *torch.rand(20, 64, generator=torch.Generator().manual_seed(5), dtype=torch.float64)]:
        found = choose(logits, sampling, numbers)[0]
        assert (warped(logits, sampling).gather(1, found[:, None]) > -torch.inf).all()
        below = torch.where(found > 0, cumulated.gather(1, (found - 1).clamp(min=0)[:, None])[:, 0], 0.0)
        above = cumulated.gather(1, found[:, None])[:, 0]
        assert ((below <= numbers + 1e-6) & (numbers <= above + 1e-6)).all()


def test_greedy_ignores_everything_else():
    logits = torch.tensor([[0.1, 0.3, 0.2]])
    assert choose(logits, Sampling(top_k=1, top_p=0.1, seed=9), torch.tensor([0.9]))[0].tolist() == [1]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("temperature", -1),
        ("top_p", 0),
        ("top_p", 1.1),
        ("top_k", -1),
        ("max_new_tokens", 0),
        ("topk", 5),
        ("seed", -1),
    ],
)
def test_wrong_settings_are_refused_by_name(setting, value):
    with pytest.raises(Refusal, match=f"sampling.{setting}"):
        read(Sampling, {setting: value}, at="sampling")


@pytest.mark.parametrize("top_p", [1.0, 0.9])
@pytest.mark.parametrize("tokens", [1, 2, 255, 256, 257, 512, 1000])
def test_a_draw_comes_with_its_log_probability_whatever_stands_beside_it(tokens, top_p):
    logits = 3 * torch.randn(32, tokens, generator=torch.Generator().manual_seed(6))
    sampling = Sampling(temperature=0.7, top_p=top_p)
    numbers = torch.rand(32, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    drawn, told = choose(logits, sampling, numbers)
    expected = warped(logits, sampling).double().log_softmax(-1).gather(1, drawn[:, None])[:, 0]
    torch.testing.assert_close(told.double(), expected, rtol=0, atol=2e-6)
    assert choose(logits[5:6], sampling, numbers[5:6])[0] == drawn[5]
