import math

import pytest
import torch
from transformers import get_cosine_schedule_with_warmup, get_linear_schedule_with_warmup

from accorda.errors import Refusal
from accorda.training.schedule import Schedule, auto_warmup


def test_values_by_formula() -> None:
    assert [Schedule("constant", 2.0, 4)(s) for s in range(4)] == [2.0] * 4
    assert [Schedule("linear", 8.0, 6, 2)(s) for s in range(6)] == [4.0, 8.0, 8.0, 6.0, 4.0, 2.0]
    cosine = Schedule("cosine", 1.0, 10, 4)
    assert [cosine(s) for s in range(4)] == [0.25, 0.5, 0.75, 1.0]
    assert [cosine(s) for s in range(4, 10)] == pytest.approx([(1 + math.cos(math.pi * k / 6)) / 2 for k in range(6)])


@pytest.mark.parametrize(
    ("name", "theirs"), [("linear", get_linear_schedule_with_warmup), ("cosine", get_cosine_schedule_with_warmup)]
)
def test_without_warmup_equals_transformers(name: str, theirs) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    scheduler = theirs(optimizer, 0, 17)
    ours = Schedule(name, 0.3, 17)
    for step in range(17):
        assert ours(step) == pytest.approx(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()


def test_never_zero_inside_the_run_and_never_negative_after_it() -> None:
    for name in ("linear", "cosine", "constant"):
        schedule = Schedule(name, 1.0, 20, auto_warmup(name, 20))
        assert all(schedule(step) > 0 for step in range(20))
        assert schedule(25) >= 0


def test_warmup_as_long_as_the_run_and_longer() -> None:
    assert Schedule("cosine", 1.0, 3, 3)(2) == 1.0
    with pytest.raises(Refusal, match=r"training\.warmup_steps: 4 is more than the 3 steps"):
        Schedule("cosine", 1.0, 3, 4)


@pytest.mark.parametrize(("steps", "warmup"), [(1, 1), (20, 1), (1000, 30), (100_000, 100)])
def test_auto_warmup_is_three_percent_and_a_hundred_at_most(steps: int, warmup: int) -> None:
    assert auto_warmup("cosine", steps) == warmup
    assert auto_warmup("linear", steps) == warmup
    assert auto_warmup("constant", steps) == 0
