"""What preparing a corpus of 1 GB takes of memory: the rows of GSM8K repeated, tokens and lines of an epoch.

A process prepares a tenth of the corpus and another all of it; their peaks beyond what they hold before are compared.
Tokens are written to files as they come, what grows is an index of the rows. Needs the folder with real data
(`ACCORDA_SHARED`, or `../shared`). CORPUS_BYTES says how large the corpus is.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks._in_turn import held
from benchmarks.preparation import prepared, renderer, write_rows

CORPUS_BYTES = int(os.environ.get("CORPUS_BYTES", str(10**9)))


def growth(file: Path, store: Path) -> None:
    """Prepare a file in this process; print its peak beyond what it held before."""
    from accorda.data import prepare, sampler  # noqa: F401  (imports are not the rows')

    rendering = renderer()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts anew
    before = held()["now"]
    lines = prepared(file, store, rendering)
    print(json.dumps({"lines": lines, "bytes": held()["peak"] - before}))


def grown(place: Path, size: int) -> dict[str, Any]:
    """`growth` over a corpus of that size, in a process of its own."""
    file, store = place / "corpus.jsonl", place / "corpus"
    rows = write_rows(file, size)
    code = f"from pathlib import Path; from benchmarks.preparation_memory import growth; growth({file!r}, {store!r})"
    code = code.replace("PosixPath", "Path")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    shutil.rmtree(store)
    told = json.loads(done.stdout.splitlines()[-1])
    return {"file_mb": round(file.stat().st_size / 1e6), "rows": rows, "mb": round(told["bytes"] / 1e6, 1)}


def main() -> dict[str, object]:
    """Both sizes, and the bytes of memory for each further row."""
    with tempfile.TemporaryDirectory() as name:
        some, all_of_it = (grown(Path(name), size) for size in (CORPUS_BYTES // 10, CORPUS_BYTES))
    return {"corpora": [some, all_of_it], "bytes_per_row": per_row(some, all_of_it)}


def per_row(some: dict[str, Any], all_of_it: dict[str, Any]) -> float:
    """How much more memory each further row takes."""
    return round(1e6 * (all_of_it["mb"] - some["mb"]) / (all_of_it["rows"] - some["rows"]), 1)
