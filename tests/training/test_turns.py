"""Several pieces of work that take turns."""

import os
import signal

import pytest
import torch

from accorda.errors import Stopped
from accorda.training.guard import Interrupted, Signals
from accorda.training.turns import Lane, take_turns, to_end


def drawing(into, steps):
    """Draws a number at every step, as dropout would."""
    torch.manual_seed(3)
    for _ in range(steps):
        into.append(float(torch.rand(())))
        yield
    return "done"


def watching(signals, saved, name, steps):
    """Stops where a signal asks it to, like a run."""
    for _ in range(steps):
        try:
            signals.check()
        except Interrupted as error:
            saved.append(name)
            raise Stopped(str(error), name) from None
        yield


def test_to_end_gives_what_the_work_comes_to():
    drawn = []
    assert to_end(drawing(drawn, 3)) == "done"
    assert len(drawn) == 3


def test_each_draws_what_it_would_have_drawn_alone():
    alone, drawn, over = [], [[], []], []
    to_end(drawing(alone, 4))
    lanes = [Lane(str(number), drawing(into, 4 - number)) for number, into in enumerate(drawn)]
    take_turns(lanes, Signals(), lambda name, reason: over.append((name, reason)))
    assert drawn == [alone, alone[:3]]
    assert over == [("1", ""), ("0", "")]


def test_one_that_cannot_go_on_leaves_the_others():
    def diverging():
        yield
        raise Stopped("not finite", "a", own=True)

    drawn, over = [], []
    take_turns([Lane("a", diverging()), Lane("b", drawing(drawn, 4))], Signals(), lambda *told: over.append(told))
    assert over == [("a", "not finite"), ("b", "")]
    assert len(drawn) == 4


def test_a_signal_stops_all_and_each_that_began_saves():
    signals, saved = Signals(), []

    def killing():
        yield
        os.kill(os.getpid(), signal.SIGTERM)
        signals.check()

    lanes = [Lane(name, watching(signals, saved, name, 9)) for name in ("a", "b")]
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted, match="SIGTERM"):
        take_turns([lanes[0], Lane("killer", killing()), lanes[1]], signals, lambda *told: None)
    assert sorted(saved) == ["a", "b"]
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_fault_stops_all_and_those_that_never_began_stay_so():
    signals, saved = Signals(), []

    def faulty():
        raise RuntimeError("broken")
        yield

    lanes = [Lane(name, watching(signals, saved, name, 9)) for name in ("a", "b")]
    with pytest.raises(RuntimeError, match="broken"):
        take_turns([lanes[0], Lane("faulty", faulty()), lanes[1]], signals, lambda *told: None)
    assert saved == ["a"]
    assert not lanes[1].begun
