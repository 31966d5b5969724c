import pytest
import torch

from accorda.models.packing import Packing


def test_segments_and_positions():
    packing = Packing((0, 3, 4), (0, 1, 5))
    cpu = torch.device("cpu")
    assert packing.segment_ids("decoder", cpu).tolist() == [0, 0, 0, 1]
    assert packing.positions("decoder", cpu).tolist() == [0, 1, 2, 0]
    assert packing.positions("encoder", cpu).tolist() == [0, 0, 1, 2, 3]


@pytest.mark.parametrize("borders", [(), (0,), (1, 3), (0, 3, 3), (0, 4, 2)])
def test_borders_must_grow_from_zero(borders):
    with pytest.raises(ValueError, match="must begin with 0 and grow"):
        Packing(borders)


def test_both_sides_have_as_many_segments():
    with pytest.raises(ValueError, match="2 segments, but 1 for the encoder"):
        Packing((0, 1, 2), (0, 5))
    with pytest.raises(ValueError, match="needs encoder_borders"):
        Packing((0, 1, 2)).of("encoder")
