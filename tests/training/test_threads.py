import time

import pytest
import torch
from tests.zoo import make

from accorda.training import threads
from accorda.training.threads import choose_threads


@pytest.fixture(autouse=True)
def _restore():
    number = torch.get_num_threads()
    yield
    torch.set_num_threads(number)


@pytest.mark.parametrize(("fast", "chosen"), [(1, 1), (3, 3)])
def test_the_faster_number_stays_and_is_told(fast: int, chosen: int) -> None:
    def trial() -> None:
        time.sleep(0.001 if torch.get_num_threads() == fast else 0.01)

    threads = choose_threads(trial, available=3)
    assert threads.number == torch.get_num_threads() == chosen
    assert threads.seconds is not None
    assert threads.seconds.keys() == {1, 3}
    assert " ms with 1, " in threads.reason


def test_the_trial_draws_nothing_from_training() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    choose_threads(lambda: torch.rand(7), available=2)
    assert torch.equal(torch.rand(3), expected)


def test_a_model_that_only_runs_is_timed_unless_it_is_large(monkeypatch) -> None:
    tried: list[object] = []
    monkeypatch.setattr(threads, "choose_threads", lambda trial: tried.append(trial()))
    model = make("llama")
    threads.settle_threads(model)
    assert len(tried) == 1
    assert tried[0].logits.requires_grad is False
    monkeypatch.setattr(threads, "MOST_TIMED", model.num_parameters() - 1)
    threads.settle_threads(model)
    assert len(tried) == 1


def test_one_core_needs_no_trial() -> None:
    assert choose_threads(lambda: pytest.fail("tried"), available=1).number == 1


def test_a_hopeless_number_is_tried_once() -> None:
    tried: list[int] = []

    def trial() -> None:
        tried.append(torch.get_num_threads())
        time.sleep(0.002 if tried[-1] == 1 else 0.1)

    assert choose_threads(trial, available=3).number == 1
    assert tried.count(3) == 1
