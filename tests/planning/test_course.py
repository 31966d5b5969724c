"""The course of a rehearsed run, as its heap is made to live through it."""

from accorda.planning.course import ordered
from accorda.planning.ledger import Ledger
from accorda.planning.rehearsal import Rehearsal, Stretch


def rehearsal(events, stretches=(), backwards_end=()):
    ledger = Ledger()
    ledger.events = events
    spans = [Stretch("training", begin, end) for begin, end in stretches]
    return Rehearsal(ledger, spans, {}, [], list(backwards_end), set())


MADE = [(number, 64) for number in range(4)]


def test_what_goes_at_one_instant_goes_in_the_order_in_which_it_came():
    """A set lets its tensors go in the order of their addresses, another one in every process."""
    one = [*MADE, (2, None), (0, None), (3, None), (4, 64), (4, None), (1, None)]
    other = [*MADE, (3, None), (2, None), (0, None), (4, 64), (1, None), (4, None)]
    assert ordered(rehearsal(one)) == ordered(rehearsal(other))
    assert ordered(rehearsal(one)) == [*MADE, (0, None), (2, None), (3, None), (4, 64), (1, None), (4, None)]


def test_nothing_goes_over_the_edge_of_a_stretch_or_of_a_backward_pass():
    events = [*MADE, (3, None), (2, None), (1, None), (0, None)]
    assert ordered(rehearsal(events, stretches=[(0, 6), (6, 8)])) == [*MADE, (2, None), (3, None), (0, None), (1, None)]
    assert ordered(rehearsal(events, backwards_end=[5])) == [*MADE, (3, None), (0, None), (1, None), (2, None)]
