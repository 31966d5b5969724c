import pytest
import torch

from accorda.quantization.dynamic_map import dynamic_map, nearest


@pytest.mark.parametrize("signed", [True, False])
def test_the_map_is_the_one_that_bitsandbytes_ships(signed):
    functional = pytest.importorskip("bitsandbytes.functional")
    assert torch.equal(dynamic_map(signed=signed), functional.create_dynamic_map(signed=signed).float())


def test_its_256_values_ascend_to_one_and_hold_zero():
    for signed in (True, False):
        table = dynamic_map(signed=signed)
        assert table.shape == (256,)
        assert table.diff().min() > 0
        assert table[-1] == 1
        assert 0 in table
    assert dynamic_map(signed=False)[1].item() == pytest.approx(1e-6 * (0.1 + 0.55) / 2)


def test_nearest_by_brute_force():
    torch.manual_seed(0)
    table = dynamic_map(signed=True)
    values = torch.rand(500) * 2 - 1
    assert torch.equal(nearest(values, table).long(), (values[:, None] - table).abs().argmin(1))
    assert torch.equal(nearest(table, table).long(), torch.arange(256))
