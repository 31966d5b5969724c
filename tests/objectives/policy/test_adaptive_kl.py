"""The price of the KL: worked numbers, and that it holds its target."""

import pytest

from accorda.objectives.policy.adaptive_kl import adapted


@pytest.mark.parametrize(("kl", "expected"), [(9.0, 0.202048), (3.0, 0.197952), (6.6, 0.201024), (6.0, 0.2)])
def test_golden_numbers(kl, expected):
    assert adapted(0.2, kl, num_sequences=512) == pytest.approx(expected, abs=1e-12)


def test_a_policy_whose_kl_falls_with_its_price_is_led_to_the_target():
    coef = 0.01
    for _ in range(500):
        coef = adapted(coef, 1 / coef, num_sequences=512, target=6.0, horizon=10_000)
    assert 1 / coef == pytest.approx(6.0, rel=1e-3)
