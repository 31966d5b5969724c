"""The order of rows is a pure function of seed, epoch and row: nothing else can change it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accorda.data.batch import Segment
from accorda.data.order import order
from accorda.data.sampler import Batches, EndlessBatches, padded_groups


class Rows:
    """Rows of given lengths whose ids name the row."""

    def __init__(self, lengths: list[int]):
        self.lengths = np.array(lengths)
        self.encoder_lengths = np.zeros_like(self.lengths)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> Segment:
        length = int(self.lengths[index])
        return Segment(index, np.full(length, index, np.int32), np.ones(length, np.bool_), "rows", index + 1)


def batches(rows: Rows, **changes) -> Batches:
    return Batches(rows, **{"batch_size": 4, "micro_tokens": 16, "packed": True, "seed": 3, **changes})


@given(st.integers(-5, 5), st.integers(0, 4), st.integers(0, 200))
def test_an_epoch_visits_every_row_once(seed: int, epoch: int, n: int):
    assert sorted(order(seed, epoch, n).tolist()) == list(range(n))


@given(st.integers(0, 5), st.integers(0, 4), st.integers(1, 60), st.integers(0, 60))
def test_rows_appended_to_the_data_do_not_reorder_the_others(seed: int, epoch: int, n: int, more: int):
    longer = order(seed, epoch, n + more)
    assert longer[longer < n].tolist() == order(seed, epoch, n).tolist()


def scrambled(value: int) -> int:
    """The output function of splitmix64 on Python integers."""
    value = (value + 0x9E3779B97F4A7C15) % 2**64
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    value = (value ^ value >> 27) * 0x94D049BB133111EB % 2**64
    return value ^ value >> 31


def test_the_order_is_the_order_of_the_keys():
    """The first output of splitmix64 from state 0 is published; so are these orders, for every later version."""
    assert scrambled(0) == 0xE220A8397B1DCDAF
    stream = scrambled(scrambled(7) ^ 2)
    assert order(7, 2, 20).tolist() == sorted(range(20), key=lambda row: scrambled(scrambled(row) ^ stream))
    assert order(0, 0, 10).tolist() == [2, 6, 5, 3, 0, 4, 7, 1, 8, 9]


def test_the_order_differs_by_seed_and_epoch():
    assert len({tuple(order(seed, epoch, 50)) for seed in range(3) for epoch in range(3)}) == 9


def test_the_order_is_even():
    """Each of 6 rows comes first in about a sixth of 3000 epochs (sigma 20)."""
    first = np.bincount([order(1, epoch, 6)[0] for epoch in range(3000)], minlength=6)
    assert abs(first - 500).max() < 100


@given(
    st.lists(st.integers(1, 12), min_size=1, max_size=40),
    st.integers(1, 9),
    st.booleans(),
    st.integers(4, 30),
    st.integers(1, 3),
)
def test_packing_micro_batches_and_ranks_leave_the_rows_of_a_step_alone(lengths, batch_size, packed, tokens, world):
    rows = Rows(lengths)
    for step in range(3):
        wanted = sorted(batches(rows, batch_size=batch_size).rows(step).tolist())
        ranks = [
            batches(rows, batch_size=batch_size, packed=packed, micro_tokens=tokens, shard=(rank, world)).at(step)
            for rank in range(world)
        ]
        assert sorted(row for rank in ranks for batch in rank for row in batch.rows) == wanted
        alone = batches(rows, batch_size=batch_size, packed=packed, micro_tokens=tokens).at(step)
        assert all(len(batch.rows) == 1 or batch.input_ids.numel() <= tokens for batch in alone)
        assert {batch.rows for batch in alone} == {batch.rows for rank in ranks for batch in rank}


@given(st.lists(st.integers(1, 12), min_size=1, max_size=40), st.integers(1, 9), st.integers(0, 12))
def test_a_step_does_not_depend_on_what_was_asked_before(lengths, batch_size, step):
    fresh, used = batches(Rows(lengths), batch_size=batch_size), batches(Rows(lengths), batch_size=batch_size)
    for earlier in (step + 7, 0, step + 1):
        used.at(earlier)
    assert [batch.rows for batch in fresh.at(step)] == [batch.rows for batch in used.at(step)]


@given(st.lists(st.integers(1, 12), min_size=1, max_size=40), st.integers(1, 9))
def test_an_epoch_of_steps_is_the_order_and_keeps_the_short_last_step(lengths, batch_size):
    made = batches(Rows(lengths), batch_size=batch_size)
    steps = made.num_steps(1)
    for epoch in range(2):
        seen = np.concatenate([made.rows(epoch * steps + step) for step in range(steps)])
        assert seen.tolist() == order(3, epoch, len(lengths)).tolist()


@pytest.mark.parametrize(("epochs", "steps"), [(1, 3), (2, 6), (0.5, 2), (0.01, 1)])
def test_num_steps(epochs: float, steps: int):
    assert batches(Rows([1] * 10)).num_steps(epochs) == steps


@given(st.lists(st.integers(1, 12), max_size=30), st.integers(1, 40))
def test_padded_groups_partition_the_rows_within_capacity(lengths: list[int], capacity: int):
    groups = padded_groups([(0, length) for length in lengths], capacity)
    assert sorted(i for one in groups for i in one) == list(range(len(lengths)))
    assert all(len(one) == 1 or len(one) * max(lengths[i] for i in one) <= capacity for one in groups)


@pytest.mark.parametrize("batch_size", [3, 7, 20])
def test_endless_steps_are_as_large_as_asked_and_one_pass_follows_the_other(batch_size):
    endless = EndlessBatches(Rows([2] * 7), batch_size=batch_size, micro_tokens=16, packed=True, seed=3)
    found = [int(row) for step in range(5) for row in endless.rows(step)]
    assert len(found) == 5 * batch_size
    passes = [int(row) for epoch in range(len(found) // 7 + 1) for row in order(3, epoch, 7)]
    assert found == passes[: len(found)]
    assert endless.rows(2).tolist() == found[2 * batch_size : 3 * batch_size]  # a pure function of the step


def test_no_rows_is_an_error():
    with pytest.raises(ValueError, match="no rows"):
        batches(Rows([]))
