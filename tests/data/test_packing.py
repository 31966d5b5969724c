"""Bins are a partition, none is over capacity, and they are few."""

from hypothesis import given
from hypothesis import strategies as st

from accorda.data.packing import best_fit_decreasing

lengths = st.lists(st.integers(1, 12), max_size=30)


@given(lengths, st.integers(1, 15))
def test_bins_partition_the_rows_within_capacity(lengths: list[int], capacity: int):
    bins = best_fit_decreasing(lengths, capacity)
    assert sorted(i for one in bins for i in one) == list(range(len(lengths)))
    assert all(len(one) == 1 or sum(lengths[i] for i in one) <= capacity for one in bins)


@given(lengths, st.integers(12, 40))
def test_no_two_bins_could_have_been_one(lengths: list[int], capacity: int):
    loads = sorted(sum(lengths[i] for i in one) for one in best_fit_decreasing(lengths, capacity))
    assert len(loads) < 2 or loads[0] + loads[1] > capacity


@given(lengths, st.integers(12, 40))
def test_the_result_is_that_of_the_rule_applied_by_hand(lengths: list[int], capacity: int):
    loads: list[int] = []
    for length in sorted(lengths, reverse=True):
        fits = [load for load in loads if load + length <= capacity]
        if fits:
            loads.remove(max(fits))
        loads.append(length + (max(fits) if fits else 0))
    assert sorted(sum(lengths[i] for i in one) for one in best_fit_decreasing(lengths, capacity)) == sorted(loads)


def test_a_row_over_capacity_goes_alone():
    assert best_fit_decreasing([20, 3, 4], 8) == [[0], [2, 1]]
