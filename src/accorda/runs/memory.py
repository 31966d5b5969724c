"""How much memory there is for programs here: the machine's, or less where a container limits it."""

import os
from collections.abc import Iterator
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")  # a line per hierarchy: number, controllers, the process's place in it
FILES = {  # of a group in cgroup v2 and v1: its limit, and what it uses
    "": ("memory.max", "memory.current"),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes"),
}


def memory_bytes() -> int | None:
    """The smaller of the machine's memory and the limits on this process; None where nothing tells."""
    try:
        found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    except (AttributeError, ValueError, OSError):
        found = []
    return min([*found, *(limit for limit, _ in _limits())], default=None)


def available_bytes() -> int | None:
    """How much memory programs could take now, by the kernel's or the container's count; None where neither tells."""
    try:
        rows = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        found = [1024 * int(row.split()[1]) for row in rows if row.startswith("MemAvailable:")]
    except (OSError, ValueError):
        found = []
    return min([*found, *(max(0, limit - used) for limit, used in _limits())], default=None)


def _limits() -> Iterator[tuple[int, int]]:
    """Limit and use of every group that this process is in, from its own to the topmost one to be seen here."""
    places = _places()
    for controller, (limit, used) in FILES.items():
        top, place = CGROUP / controller, places.get(controller, Path())
        for group in (place, *place.parents):
            try:
                yield int((top / group / limit).read_text()), int((top / group / used).read_text())
            except (OSError, ValueError):  # no such file, or "max"
                continue


def _places() -> dict[str, Path]:
    """The process's group in each hierarchy by controller, relative to its top; "" is cgroup v2's only one."""
    try:
        rows = [row.split(":", 2) for row in OWN.read_text(encoding="utf-8").splitlines()]
    except OSError:
        return {}
    return {name: Path(row[2].lstrip("/")) for row in rows if len(row) == 3 for name in row[1].split(",")}
