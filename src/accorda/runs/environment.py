"""Where a run ran: versions, processor, memory, the commit of the working directory. Nothing that names a person."""

import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accorda.runs.memory import memory_bytes

PACKAGES = (
    *(
        "accorda",
        "torch",
        "transformers",
        "tokenizers",
        "safetensors",
        "numpy",
        "pydantic",
        "peft",
        "bitsandbytes",
        "triton",
    ),
    *("datasets", "pyarrow", "rouge-score", "sacrebleu", "tensorboard", "mlflow", "wandb"),
)
VARIABLES = (
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "CUBLAS_WORKSPACE_CONFIG"),
    *("PYTORCH_CUDA_ALLOC_CONF", "HF_HUB_OFFLINE", "TOKENIZERS_PARALLELISM"),
)


def environment(extra: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What `environment.json` holds; `extra` adds what only the caller knows (devices, seeds, data hashes)."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": packages(),
        "processor": {"name": processor(), "cores": os.cpu_count(), "usable_cores": usable_cores()},
        "memory_bytes": memory_bytes(),
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
        "git": git(),
        **(extra or {}),
    }


def packages() -> dict[str, str]:
    """The installed versions of what results can depend on, without importing any of it."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def processor() -> str:
    """The processor's name."""
    try:
        rows = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        rows = []
    names = [row.partition(":")[2].strip() for row in rows if row.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def usable_cores() -> int | None:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def git() -> dict[str, Any] | None:
    """The commit of the working directory and whether it has changes; None outside a repository."""
    commit = _git("rev-parse", "HEAD")
    return {"commit": commit, "changed": bool(_git("status", "--porcelain", "-uno"))} if commit else None


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
