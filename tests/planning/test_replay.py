"""The C library answers for itself; what is checked is that it is asked the right questions."""

import ctypes

import pytest

from accorda.planning import replay
from accorda.planning.replay import Course, held

pytestmark = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="a C library without mallinfo2")
MB = 1 << 20


def course(*events, outside=(), graph=(), ends=(), stretches=None, own_mapping=0):
    return Course(events, stretches or [(0, len(events))], outside, graph, ends, own_mapping)


def test_blocks_side_by_side_are_held_as_they_are():
    (most,) = held(course(*[(number, 3 * MB) for number in range(20)]))
    assert 60 * MB <= most < 61 * MB


def test_what_is_given_back_at_the_end_is_not_held_in_the_next_stretch():
    events = [(0, 40 * MB), (0, None), (1, 1 * MB)]
    first, second = held(course(*events, stretches=[(0, 2), (2, 3)]))
    assert first >= 40 * MB
    assert second < 3 * MB


def test_holes_between_blocks_that_stay_are_held():
    made = [(number, MB) for number in range(40)]
    gone = [(number, None) for number in range(0, 40, 2)]
    # in the heap, not mapped: a mapped block that was freed raises the size from which blocks are mapped
    events = [(99, 30 * MB), (99, None), *made, *gone, (100, 4 * MB)]
    (most,) = held(course(*events))
    assert most >= 43 * MB


def test_blocks_with_mappings_of_their_own_leave_no_holes():
    made = [(number, 6 * MB) for number in range(20)]
    gone = [(number, None) for number in range(0, 20, 2)]
    events = [(999, 30 * MB), (999, None), *made, *gone, *[(number, 7 * MB) for number in range(100, 110)]]
    (in_heap,), (mapped,) = held(course(*events)), held(course(*events, own_mapping=4 * MB))
    assert in_heap >= 190 * MB
    assert 130 * MB <= mapped < 132 * MB


def test_tensors_that_come_from_elsewhere_count_and_are_not_asked_for():
    (most,) = held(course((0, 1 << 40), (1, MB), outside=(0,)))
    assert (1 << 40) + MB <= most < (1 << 40) + 3 * MB


def test_a_stretch_may_come_again():
    events = [(0, MB), (1, 2 * MB), (1, None)]
    found = held(course(*events, stretches=[(0, 1), (1, 3), (1, 3), (1, 3)]))
    assert len(found) == 4
    assert found[3] >= 3 * MB


def test_the_graph_is_let_go_at_its_end(monkeypatch):
    given = []
    monkeypatch.setattr(replay.Library, "free", lambda self, blocks: given.append(len(blocks)))
    replay.replay(course((0, 100), (1, 100), (2, 100), graph=(0, 1), ends=(2,)))
    assert given == [2 * len(replay.SMALL_NODE)]


def test_a_stretch_may_be_of_shorter_rows_and_only_what_hangs_on_them_is_smaller():
    events = [
        (0, 20 * MB),
        *[(number, 4 * MB) for number in range(1, 11)],
        *[(number, None) for number in range(1, 11)],
    ]
    stretches, rows = [(0, len(events))], list(range(1, 11))
    whole, half = held(course(*events)), held(Course(events, stretches, (), (), (), 0, [0.5], rows))
    assert 60 * MB <= whole[0] < 61 * MB
    assert 40 * MB <= half[0] < 41 * MB
