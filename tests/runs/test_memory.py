"""Memory is the machine's, unless a group of processes may have less."""

import os

import pytest

from accorda.models import room
from accorda.planning.devices import find_device
from accorda.runs import memory
from accorda.runs.environment import environment

MACHINE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
VERSIONS = {
    "v2": ("0::/box/inner\n", "", "memory.max", "memory.current"),
    "v1": (
        "5:devices:/\n4:memory,x:/box/inner\n0::/\n",
        "memory",
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
    ),
}


@pytest.fixture(params=VERSIONS)
def limited(request, tmp_path, monkeypatch):
    """A function that sets limit and use of a group of this process, under either version of cgroups."""
    own, top, limit, used = VERSIONS[request.param]
    (tmp_path / "own").write_text(own)
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    monkeypatch.setattr(memory, "OWN", tmp_path / "own")

    def write(group: str, most: object, now: int) -> None:
        folder = tmp_path / top / group
        folder.mkdir(parents=True, exist_ok=True)
        (folder / limit).write_text(f"{most}\n")
        (folder / used).write_text(f"{now}\n")

    return write


def test_without_a_limit_it_is_the_machines(limited):
    assert memory.memory_bytes() == MACHINE
    limited("box", "max", 5)
    limited("", 9223372036854771712, 5)  # version 1's word for no limit
    assert memory.memory_bytes() == MACHINE
    assert 0 < (memory.available_bytes() or 0) <= MACHINE


@pytest.mark.parametrize("group", ["", "box", "box/inner"])
def test_a_limit_on_any_group_above_counts(limited, group):
    limited(group, 3000, 1000)
    limited("other", 10, 10)
    assert memory.memory_bytes() == 3000
    assert memory.available_bytes() == 2000


def test_what_is_planned_told_and_refused_is_by_the_limit(limited):
    limited("", 10**9, 0)
    assert find_device("cpu").capacity == 10**9
    assert environment()["memory_bytes"] == 10**9
    assert room.memory_bytes() == 10**9


def test_where_no_group_is_known_the_top_one_counts(limited, monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "OWN", tmp_path / "missing")
    limited("", 3000, 4000)
    assert memory.memory_bytes() == 3000
    assert memory.available_bytes() == 0
