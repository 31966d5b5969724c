"""How a process grows while it multiplies 16-bit matrices of ever new lengths, as rows of text have them.

With oneDNN's own cache sizes and with accorda's: megabytes gained over 600 products of a linear layer and their
gradients, and the time of the second over the first. Each is a process of its own.
"""

import json
import os
import subprocess
import sys

from accorda.models.compiled import KEPT, VARIABLES

PRODUCTS = """
import ctypes, json, time, torch
def megabytes():
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    return [int(line.split()[1]) / 1e3 for line in open("/proc/self/status") if line.startswith("RssAnon")][0]
torch.set_num_threads(1)
torch.manual_seed(0)
weight = torch.randn(1408, 512, dtype=torch.bfloat16)
def product(rows):
    x = torch.randn(rows, 512, dtype=torch.bfloat16, requires_grad=True)
    torch.nn.functional.linear(x, weight).float().sum().backward()
product(2000)
before, began = megabytes(), time.process_time()
for rows in torch.randint(500, 2000, (600,)).tolist():
    product(rows)
print(json.dumps({"gained_mb": round(megabytes() - before, 1), "seconds": time.process_time() - began}))
"""


def measured(kept: str | None) -> dict[str, float]:
    """One process."""
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    environment |= {} if kept is None else dict.fromkeys(VARIABLES, kept)
    done = subprocess.run([sys.executable, "-c", PRODUCTS], capture_output=True, text=True, env=environment, check=True)
    return json.loads(done.stdout)


def main() -> dict[str, object]:
    """Alternating, twice."""
    pairs = [(measured(None), measured(KEPT)) for _ in range(2)]
    plain, bounded = pairs[-1]
    return {
        "gained_mb": {"own": plain["gained_mb"], "accorda": bounded["gained_mb"]},
        "time": round(sum(b["seconds"] for _, b in pairs) / sum(a["seconds"] for a, _ in pairs), 3),
    }
