"""The complete state of a run on disk: tensors as safetensors, the rest as JSON, nothing pickled.

A checkpoint is a folder `step-N` that appears whole: written aside, synced, renamed. What a torn disk or a hand may
still have done to it is found by checksum, and then it is passed over.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from accorda.errors import Refusal
from accorda.models.tensor_file import keep, write_tensors
from accorda.runs.replace import recover, replaced

TENSORS, STATE = "tensors.safetensors", "state.json"
FORMAT = 1


@dataclass
class State:
    """Named tensors, and values that JSON can hold.

    let_go: called with parts of the tensors that were read and are not needed soon: those that live in pages may leave.
    """

    tensors: dict[str, Tensor] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    let_go: Callable[[Tensor], None] = keep

    def put(self, name: str, part: "State") -> None:
        """Store a part under a name."""
        self.tensors |= {f"{name}/{key}": tensor for key, tensor in part.tensors.items()}
        self.values[name] = part.values

    def part(self, name: str) -> "State":
        """The part stored under a name."""
        start = f"{name}/"
        tensors = {key.removeprefix(start): t for key, t in self.tensors.items() if key.startswith(start)}
        return State(tensors, self.values[name])


def save(folder: Path, state: State) -> None:
    """Write a checkpoint; it is there whole, or not at all."""
    with replaced(folder) as new:
        write_tensors(new / TENSORS, state.tensors, let_go=state.let_go)
        content = {"format": FORMAT, "tensors_sha256": _sha256(new / TENSORS), "values": state.values}
        text = json.dumps(content, allow_nan=False)
        (new / STATE).write_text(json.dumps({"sha256": _text_sha256(text), "content": text}), encoding="utf-8")


def load(folder: Path) -> State:
    """Read a checkpoint.

    Raises:
        Refusal: it is not one, or not what was written.
    """
    try:
        outer = json.loads((folder / STATE).read_text(encoding="utf-8"))
        content = json.loads(outer["content"])
        whole = _text_sha256(outer["content"]) == outer["sha256"]
        if not whole or _sha256(folder / TENSORS) != content["tensors_sha256"]:
            raise Refusal(f"{folder}: the checkpoint is not what was written; delete it to use the one before")
        return State(load_file(folder / TENSORS), content["values"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Refusal(f"{folder}: not a whole checkpoint ({error}); delete it to use the one before") from error


def step_of(folder: Path) -> int | None:
    """N of a folder `step-N`, None for any other name."""
    head, _, number = folder.name.partition("-")
    return int(number) if head == "step" and number.isdigit() else None


def folders(checkpoints: Path) -> list[Path]:
    """The checkpoint folders in the order of their steps, whole or not."""
    if not checkpoints.is_dir():
        return []
    for left in list(checkpoints.glob(".step-*.old")):  # a kill between the two renames of a replacement
        recover(checkpoints / left.name.removeprefix(".").removesuffix(".old"))
    found = [folder for folder in checkpoints.iterdir() if step_of(folder) is not None]
    return sorted(found, key=lambda folder: step_of(folder) or 0)


def latest(checkpoints: Path, warn: Callable[[str], None] = lambda line: None) -> tuple[Path, State] | None:
    """The whole checkpoint with the highest step, passing over torn ones; None where there is none."""
    for folder in reversed(folders(checkpoints)):
        try:
            return folder, load(folder)
        except Refusal as refusal:
            warn(f"passed over: {refusal}")
    return None


def prune(checkpoints: Path, keep: int, best: int | None) -> None:
    """Delete all but the last `keep` checkpoints and the best one, and what killed processes left half done."""
    for folder in folders(checkpoints)[:-keep]:
        if step_of(folder) != best:
            shutil.rmtree(folder, ignore_errors=True)
    for left in checkpoints.glob(".step-*"):
        shutil.rmtree(left, ignore_errors=True)


def require_same(identity: Mapping[str, str], stored: Mapping[str, str], run: Path) -> None:
    """Refuse to continue a run whose recipe, data or base is no longer what it was.

    Raises:
        Refusal: names what differs.
    """
    for name in sorted(identity.keys() | stored.keys()):
        if identity.get(name) != stored.get(name):
            raise Refusal(
                f"{run}: its {name} changed since the checkpoint was written "
                f"({stored.get(name)} then, {identity.get(name)} now); restore it, or start a new run"
            )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _text_sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
