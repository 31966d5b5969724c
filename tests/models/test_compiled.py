import os
import subprocess
import sys

from accorda.models.compiled import KEPT, VARIABLES, bound_compiled_kernels

GROWTH = """
import ctypes, torch
from accorda.models.compiled import bound_compiled_kernels
bound_compiled_kernels()
torch.set_num_threads(1)
weight = torch.randn(256, 256, dtype=torch.bfloat16)
def megabytes():
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    return [int(line.split()[1]) / 1e3 for line in open("/proc/self/status") if line.startswith("RssAnon")][0]
for rows in range(1, 801):
    torch.randn(rows, 256, dtype=torch.bfloat16) @ weight
    if rows == 200:
        before = megabytes()
print(megabytes() - before)
"""


def test_the_environment_decides_where_it_says_something(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(VARIABLES[0], "7")
    bound_compiled_kernels()
    assert [os.environ[name] for name in VARIABLES] == ["7", KEPT]


def test_a_process_stops_growing_with_new_shapes():
    plain = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    done = subprocess.run([sys.executable, "-c", GROWTH], capture_output=True, text=True, env=plain, check=True)
    assert float(done.stdout) < 15
