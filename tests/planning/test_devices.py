import pytest

from accorda.errors import Refusal
from accorda.planning.devices import devices, find_device


def test_named_gpus_have_the_memory_their_names_say():
    for name, device in devices().items():
        said = [part for part in name.split("-") if part.endswith("gb")]
        if said:
            assert device.capacity == pytest.approx(int(said[0][:-2]) * 2**30, rel=0.03), name


def test_the_names_that_must_be_there():
    names = {"rtx-3090", "rtx-4090", "a100-40gb", "a100-80gb", "h100-80gb", "h200", "l4", "t4"}
    assert names <= set(devices())
    assert not devices()["t4"].bf16


def test_this_machine():
    cpu = find_device("cpu")
    with open("/proc/meminfo", encoding="utf-8") as file:
        total = int(file.readline().split()[1]) * 1024
    assert 2**30 < cpu.capacity <= 1.01 * total  # less where a container may not use all of it


@pytest.mark.parametrize(("given", "meant"), [("rtx4090", "rtx-4090"), ("a100-80", "a100-80gb"), ("abacus", "cpu")])
def test_an_unknown_device_is_told_the_nearest(given, meant):
    with pytest.raises(Refusal, match=meant):
        find_device(given)


def test_the_size_may_be_left_out_where_there_is_one():
    assert find_device("H100") == devices()["h100-80gb"]
    with pytest.raises(Refusal, match="there are several; name a100-40gb or a100-80gb"):
        find_device("a100")
