"""Large blocks get mappings of their own when they were asked for, and not before; each case in a new process."""

import ctypes
import json
import os
import subprocess
import sys

import pytest

from accorda.models import heap

pytestmark = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="a C library without mallinfo2")
MB = 1 << 20
SCRIPT = """
import ctypes, json, sys
from accorda.models.heap import map_large_blocks, threshold
from accorda.planning.replay import Statistics
c = ctypes.CDLL(None)
c.mallinfo2.restype = Statistics
c.malloc.restype, c.malloc.argtypes, c.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]

def mapped(size):
    before = c.mallinfo2().hblkhd
    block = c.malloc(size)
    found = c.mallinfo2().hblkhd - before
    c.free(block)
    return found

c.free(c.malloc(30 << 20))  # after a mapped block was freed the library keeps what is smaller in the heap
before = mapped(5 << 20)
map_large_blocks()
print(json.dumps([before, mapped(5 << 20), mapped(3 << 20), threshold()]))
"""


def measured(**environment):
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT], check=True, capture_output=True, text=True, env=os.environ | environment
    )
    return json.loads(found.stdout)


def test_large_blocks_are_mapped_by_themselves():
    before, large, smaller, threshold = measured()
    assert before == smaller == 0
    assert 5 * MB <= large < 6 * MB
    assert threshold == heap.OWN_MAPPING


def test_what_the_user_told_the_library_stands():
    _, large, _, threshold = measured(**{heap.BY_USER: str(16 * MB)})
    assert large == threshold == 0


HOLES = """
import ctypes, json
from accorda.models.heap import give_back
c = ctypes.CDLL(None)
c.malloc.restype, c.malloc.argtypes, c.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]

def resident():
    return next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("VmRSS"))

blocks = []
for _ in range(600):  # of 100 kB each, below every threshold, with something above it that stays
    blocks.append(c.malloc(100 << 10))
    ctypes.memset(blocks[-1], 1, 100 << 10)
    c.malloc(3000)
for block in blocks:
    c.free(block)
before = resident()
give_back()
print(json.dumps([before, resident()]))
"""


def test_holes_are_given_back():
    done = subprocess.run([sys.executable, "-c", HOLES], check=True, capture_output=True, text=True)
    before, after = json.loads(done.stdout)
    assert before - after > 40 * MB
