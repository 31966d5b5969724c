from types import SimpleNamespace

import pytest

from accorda.training.profile import clock
from accorda.training.profile.clock import Clock


@pytest.fixture
def now(monkeypatch) -> SimpleNamespace:
    time = SimpleNamespace(is_=0.0)
    monkeypatch.setattr(clock, "perf_counter", lambda: time.is_)
    return time


def test_a_part_inside_another_counts_for_itself_alone(now) -> None:
    timed = Clock()
    with timed.part("step"):
        now.is_ += 1
        with timed.part("forward"):
            now.is_ += 2
        now.is_ += 4
    now.is_ += 8
    with timed.part("forward"):
        now.is_ += 16
    assert timed.seconds == {"step": 5, "forward": 18}


def test_what_proofs_and_evaluations_do_is_theirs(now) -> None:
    timed = Clock()
    with timed.part("files"), timed.part("proofs"):
        with timed.part("forward"):
            now.is_ += 1
        assert timed.inside == "proofs"
    assert timed.seconds == {"files": 0, "proofs": 1}


def test_a_part_that_fails_is_closed(now) -> None:
    timed = Clock()
    with pytest.raises(ValueError, match="now"), timed.part("forward"):
        raise ValueError("now")
    assert timed.inside is None


def test_the_device_comes_to_rest_at_every_border() -> None:
    rests: list[int] = []
    with Clock(lambda: rests.append(1)).part("forward"):
        assert len(rests) == 1
    assert len(rests) == 2
