import time

import pytest
import torch
from tests.zoo import make

from accorda.training import threads
from accorda.training.threads import choose_threads


@pytest.fixture(autouse=True)
def _restore(monkeypatch):
    number = torch.get_num_threads()
    monkeypatch.setattr(threads, "crowded", lambda available: False)
    yield
    torch.set_num_threads(number)


@pytest.mark.parametrize(("fast", "chosen"), [(1, 1), (3, 3)])
def test_the_faster_number_stays_and_is_told(fast: int, chosen: int) -> None:
    def trial() -> None:
        time.sleep(0.001 if torch.get_num_threads() == fast else 0.01)

    found = choose_threads(trial, available=3)
    assert found.number == torch.get_num_threads() == chosen
    assert found.seconds is not None
    assert found.seconds.keys() == {1, 3}
    assert " ms with 1, " in found.reason


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


@pytest.mark.parametrize(("rows", "timed"), [(1, False), (threads.FEW_ROWS, False), (threads.FEW_ROWS + 1, True)])
def test_few_answers_of_a_small_model_are_not_worth_a_trial(rows, timed, monkeypatch) -> None:
    tried: list[object] = []
    monkeypatch.setattr(threads, "choose_threads", lambda trial: tried.append(trial()))
    torch.set_num_threads(2)
    threads.settle_threads(make("llama"), rows)
    assert bool(tried) is timed
    assert torch.get_num_threads() == (2 if timed else 1)
    monkeypatch.setattr(threads, "SMALL_MODEL", 10)
    threads.settle_threads(make("llama"), rows)
    assert tried


def test_one_core_needs_no_trial() -> None:
    assert choose_threads(lambda: pytest.fail("tried"), available=1).number == 1


def test_a_hopeless_number_is_tried_once() -> None:
    tried: list[int] = []

    def trial() -> None:
        tried.append(torch.get_num_threads())
        time.sleep(0.002 if tried[-1] == 1 else 0.1)

    assert choose_threads(trial, available=3).number == 1
    assert tried.count(3) == 1


def test_busy_cores_need_no_trial(monkeypatch) -> None:
    monkeypatch.setattr(threads, "crowded", lambda available: True)
    found = choose_threads(lambda: pytest.fail("tried"), available=2)
    assert (found.number, torch.get_num_threads()) == (1, 1)
    assert found.reason == "auto: the other cores are busy"


@pytest.mark.parametrize(("slow", "waits"), [(0.0005, False), (0.005, True)])
def test_threads_that_wait_are_found_in_milliseconds(slow, waits, monkeypatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(torch, "mm", lambda left, right: time.sleep(slow if torch.get_num_threads() == 3 else 0.0005))
    began = time.perf_counter()
    assert threads.crowded(3) is waits
    assert time.perf_counter() - began < 10 * threads.PROBE
