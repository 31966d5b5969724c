"""How many compiled kernels the processor's library keeps.

oneDNN compiles a kernel for every shape of a 16-bit product that it meets, about a megabyte each with its workspace,
and keeps up to 1024 of them in each of two caches. Rows of text have ever new lengths, so a process would grow by
hundreds of megabytes while it trains. The kernels of one step are few: small caches cost no time
(`benchmarks/kernel_cache.py`).
"""

import os

KEPT = "64"
VARIABLES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")


def bound_compiled_kernels() -> None:
    """Keep few, unless the environment says how many. Of use before the process's first 16-bit product."""
    for name in VARIABLES:
        os.environ.setdefault(name, KEPT)
