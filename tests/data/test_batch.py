"""Labels line up with tokens, whichever way rows are put together."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accorda.data.batch import IGNORE_INDEX, Segment, pack_batch, pad_batch


def segment(index: int, ids: list[int], supervised: list[bool]) -> Segment:
    return Segment(index, np.array(ids, np.int32), np.array(supervised, np.bool_), "rows.jsonl", index + 1)


rows = st.lists(
    st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1, max_size=7), min_size=1, max_size=5
).map(lambda drawn: [segment(i, *map(list, zip(*row, strict=True))) for i, row in enumerate(drawn)])


def expected(segments: list[Segment]) -> list[tuple[int, int]]:
    """(the token that predicts, the token to predict), row after row."""
    pairs = []
    for one in segments:
        for position in range(1, len(one)):
            if one.supervised[position]:
                pairs.append((int(one.input_ids[position - 1]), int(one.input_ids[position])))
    return pairs


@given(rows, st.booleans())
def test_targets_are_the_supervised_tokens_seen_from_their_own_row(segments: list[Segment], packed: bool):
    batch = pack_batch(segments) if packed else pad_batch(segments, pad_id=0)
    positions, labels = batch.targets()
    before = batch.input_ids.reshape(-1)[positions]
    assert list(zip(before.tolist(), labels.tolist(), strict=True)) == expected(segments)
    assert batch.num_supervised == len(labels)
    assert batch.num_tokens == sum(map(len, segments))
    assert batch.rows == tuple(range(len(segments)))


@given(rows)
def test_packed_rows_stand_end_to_end_and_count_positions_from_zero(segments: list[Segment]):
    batch = pack_batch(segments)
    assert batch.packing is not None
    borders = batch.packing.borders
    assert borders[0] == 0
    assert borders[-1] == batch.input_ids.shape[1]
    for one, start, end in zip(segments, borders, borders[1:], strict=False):
        assert batch.input_ids[0, start:end].tolist() == one.input_ids.tolist()
        assert batch.position_ids[0, start:end].tolist() == list(range(len(one)))


@given(rows)
def test_padding_is_masked_by_position_even_where_its_id_is_a_real_token(segments: list[Segment]):
    pad = int(segments[0].input_ids[-1])
    batch = pad_batch(segments, pad)
    assert batch.attention_mask is not None
    for row, one in enumerate(segments):
        assert batch.attention_mask[row].tolist() == [1] * len(one) + [0] * (batch.input_ids.shape[1] - len(one))
        assert batch.labels[row, len(one) :].eq(IGNORE_INDEX).all()
        wanted = [int(i) if s else IGNORE_INDEX for i, s in zip(one.input_ids, one.supervised, strict=True)]
        assert batch.labels[row, 1 : len(one)].tolist() == wanted[1:]


def test_inputs_are_what_a_model_takes():
    one = segment(0, [1, 2], [False, True])
    assert sorted(pack_batch([one]).inputs()) == ["input_ids", "packing", "position_ids"]
    assert sorted(pad_batch([one], 0).inputs()) == ["attention_mask", "input_ids", "position_ids"]


@pytest.mark.parametrize("packed", [True, False])
def test_a_batch_moves_whole(packed: bool):
    one = segment(0, [1, 2], [False, True])
    batch = (pack_batch([one]) if packed else pad_batch([one], 0)).to("meta")
    assert {batch.input_ids.device.type, batch.labels.device.type, batch.position_ids.device.type} == {"meta"}
    assert batch.attention_mask is None or batch.attention_mask.device.type == "meta"
