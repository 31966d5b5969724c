"""Check this run folder without the tool that wrote it: `python verify.py`. Needs Python and safetensors, nothing else.

Every file that proof.json lists still has its SHA-256; every safetensors header is sound; every tensor has the bytes
the run saw in memory when it saved, is finite, and is trained (no factor that starts at zero is zero throughout); the
event log leads to the result; no proof failed. One line per question; exit code 1 if the answer to one is no.
"""

import hashlib
import json
import math
import sys
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "BOOL": 1}
SIZES |= {f"{sign}{bits}": bits // 8 for sign in "IU" for bits in (8, 16, 32, 64)}
EXPONENTS = {"F16": 0x7C00, "BF16": 0x7F80}  # all ones there: infinity or NaN
HEADER_BYTES = 8
WORTH_SHOWING = 3

Line = tuple[bool, str]


def main(arguments: list[str]) -> int:
    """Check the folder given, or the one this file stands in."""
    folder = Path(arguments[0]) if arguments else Path(__file__).resolve().parent
    lines = list(verify(folder))
    for holds, text in lines:
        sys.stdout.write(f"{'holds' if holds else 'FAILS'}  {text}\n")
    failed = sum(not holds for holds, _ in lines)
    sys.stdout.write(f"{folder}: {len(lines) - failed} of {len(lines)} checks hold\n")
    return 1 if failed else 0


def verify(folder: Path) -> Iterator[Line]:
    """Every check, in reading order."""
    try:
        proofs = {entry["name"]: entry for entry in json.loads((folder / "proof.json").read_text("utf-8"))["proofs"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        yield False, f"proof.json cannot be read: {error!r}"
        return
    yield from verdicts(proofs)
    evidence = proofs.get("save", {}).get("evidence", {})
    yield from files(folder, evidence.get("files", {}))
    for path in sorted([*folder.glob("adapter/*.safetensors"), *folder.glob("model/*.safetensors")]):
        yield from tensors(path, path.relative_to(folder).as_posix(), evidence.get("tensors", {}))
    yield from events(folder, proofs)


def verdicts(proofs: dict[str, Any]) -> Iterator[Line]:
    """What the run said of itself."""
    for name, entry in proofs.items():
        yield entry["verdict"] != "fails", f"proof {name}: {entry['verdict']}, {entry['reason']}"


def files(folder: Path, sums: dict[str, str]) -> Iterator[Line]:
    """Every listed file is there, byte for byte."""
    if not sums:
        yield False, "proof.json lists no checksum of a file"
    for name, expected in sums.items():
        path = folder / name
        found = sha256(path) if path.is_file() else "missing"
        yield found == expected, f"{name}: {'SHA-256 as written' if found == expected else f'{found}, not {expected}'}"


def sha256(path: Path) -> str:
    """Of a file's bytes, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 22):
            digest.update(piece)
    return digest.hexdigest()


def tensors(path: Path, name: str, sums: dict[str, str]) -> Iterator[Line]:
    """The header is sound, and every tensor is the one that was saved, finite and trained."""
    from safetensors import SafetensorError, deserialize

    fault = header_fault(path)
    yield not fault, f"{name}: header {fault or 'sound'}"
    if fault:
        return
    try:
        found = [(key, entry) for key, entry in deserialize(path.read_bytes())]
    except SafetensorError as error:
        yield False, f"{name}: {error}"
        return
    changed = [key for key, entry in found if f"{name}:{key}" in sums and digest(entry) != sums[f"{name}:{key}"]]
    unknown = [key for key, _ in found if f"{name}:{key}" not in sums]
    infinite = [key for key, entry in found if not finite(entry)]
    resting = [key for key, entry in found if ".lora_B" in key and not any(entry["data"])]
    yield not changed, f"{name}: {len(found)} tensors {shown('differ from what was saved', changed) or 'as saved'}"
    yield not unknown, f"{name}: {shown('not listed in proof.json', unknown) or 'every tensor listed'}"
    yield not infinite, f"{name}: {shown('not finite', infinite) or 'every tensor finite'}"
    yield not resting, f"{name}: {shown('still zero', resting) or 'no factor left at zero'}"


def header_fault(path: Path) -> str:
    """What is wrong with a safetensors header, or nothing: tensors tile the file without hole or overlap."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(HEADER_BYTES), "little")
        if length > path.stat().st_size - HEADER_BYTES:
            return "longer than the file"
        try:
            header = json.loads(file.read(length))
        except ValueError:
            return "not JSON"
    header.pop("__metadata__", None)
    end = 0
    for key, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        start, stop = entry["data_offsets"]
        if start != end or stop - start != math.prod(entry["shape"]) * SIZES.get(entry["dtype"], 0):
            return f"broken at {key}: offsets {start}-{stop}, shape {entry['shape']} of {entry['dtype']}"
        end = stop
    return "" if end == path.stat().st_size - HEADER_BYTES - length else "and data have different lengths"


def digest(entry: dict[str, Any]) -> str:
    """SHA-256 of a tensor's bytes."""
    return hashlib.sha256(entry["data"]).hexdigest()


def finite(entry: dict[str, Any]) -> bool:
    """No infinity and no NaN; integer tensors are finite."""
    data, dtype = bytes(entry["data"]), entry["dtype"]
    if dtype in EXPONENTS:
        mask = EXPONENTS[dtype]
        return all(word & mask != mask for word in _array("H", data))
    if dtype in ("F32", "F64"):
        return all(map(math.isfinite, _array("f" if dtype == "F32" else "d", data)))
    return True


def _array(code: str, data: bytes) -> "array[Any]":
    words = array(code)
    words.frombytes(data)
    if sys.byteorder == "big":
        words.byteswap()
    return words


def events(folder: Path, proofs: dict[str, Any]) -> Iterator[Line]:
    """The log's steps follow one another and lead to result.json, which tells the same verdicts as proof.json."""
    try:
        result = json.loads((folder / "result.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        yield False, f"result.json cannot be read, the run is not complete: {error!r}"
        return
    told = result.get("proofs", {})
    same = told == {name: entry["verdict"] for name, entry in proofs.items()}
    yield same, f"result.json and proof.json {'tell the same verdicts' if same else 'tell different verdicts'}"
    steps = {event["step"]: event for event in log(folder / "events.jsonl") if event.get("event") == "step"}
    gaps = sorted(set(range(1, max(steps, default=0) + 1)) - set(steps))
    wild = [str(step) for step, event in steps.items() if not isinstance(event.get("loss"), float | int)]
    wild += [str(step) for step, event in steps.items() if not math.isfinite(float(event.get("loss") or 0))]
    last = max(steps, default=0)
    yield (
        last == result.get("steps"),
        f"events.jsonl ends at step {last}, result.json tells {result.get('steps')} steps",
    )
    yield not gaps, f"events.jsonl: {shown('steps missing', [str(step) for step in gaps]) or 'no step missing'}"
    yield not wild, f"events.jsonl: {shown('no finite loss at step', wild) or 'every loss finite'}"


def log(path: Path) -> Iterator[dict[str, Any]]:
    """Every whole line; a torn last one is left out."""
    for line in path.read_text("utf-8").splitlines() if path.is_file() else []:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            yield event


def shown(what: str, found: list[str]) -> str:
    """The first few of what was found, or nothing."""
    more = f" and {len(found) - WORTH_SHOWING} more" if len(found) > WORTH_SHOWING else ""
    return f"{what}: {', '.join(found[:WORTH_SHOWING])}{more}" if found else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
