"""`import accorda` and `accorda --help` against bare Python, best of 15 alternating runs each."""

import subprocess
import sys
import time

PROGRAMS = {
    "python": ["-c", "pass"],
    "import accorda": ["-c", "import accorda"],
    "accorda --help": ["-m", "accorda", "--help"],
}


def main() -> dict[str, object]:
    """Milliseconds, and those beyond bare Python."""
    best = dict.fromkeys(PROGRAMS, float("inf"))
    for _ in range(15):
        for name, arguments in PROGRAMS.items():
            started = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
            best[name] = min(best[name], 1000 * (time.perf_counter() - started))
    beyond = {name: round(value - best["python"], 1) for name, value in best.items() if name != "python"}
    return {"milliseconds": {name: round(value, 1) for name, value in best.items()}, "beyond_python": beyond}
