"""Run the benchmarks and write what they measured to `benchmarks/results/<name>.json`.

A benchmark is a module or package of this folder with `main() -> dict`. Figures are ratios within one run on one
machine: the machine's own figures are recorded beside them and mean nothing alone.
"""

import datetime
import importlib
import json
import os
import platform
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"


def names() -> list[str]:
    """Every benchmark of this folder."""
    modules = [*HERE.glob("*.py"), *(path.parent for path in HERE.glob("*/__init__.py"))]
    return sorted(path.stem for path in modules if not path.stem.startswith("_"))


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    import torch
    import transformers

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "date": datetime.date.today().isoformat(),
        "processor": platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "gpu": gpu,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def run(name: str) -> dict[str, object]:
    """One benchmark, its figures written aside and renamed; one with `NEEDS_CUDA` is left out where there is none."""
    import torch

    started = time.perf_counter()
    module = importlib.import_module(f"benchmarks.{name}")
    if getattr(module, "NEEDS_CUDA", False) and not torch.cuda.is_available():
        return {"seconds": 0.0, "figures": "left out: it needs CUDA"}
    figures = module.main()
    result = {"benchmark": name, **machine(), "seconds": round(time.perf_counter() - started, 1), "figures": figures}
    RESULTS.mkdir(exist_ok=True)
    aside = RESULTS / f"{name}.json.part"
    aside.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    aside.rename(RESULTS / f"{name}.json")
    return result


def main(arguments: list[str]) -> int:
    """Run the named benchmarks, or all of them."""
    unknown = sorted(set(arguments) - set(names()))
    if unknown:
        print(f"error: no benchmark {unknown[0]!r}; there are {', '.join(names())}", file=sys.stderr)
        return 2
    for name in arguments or names():
        result = run(name)
        print(json.dumps({"benchmark": name, "seconds": result["seconds"], "figures": result["figures"]}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
