"""The proofs that an adapter or model folder allows when nothing is known of the run that wrote it."""

from pathlib import Path
from typing import Any

from accorda.proofs.contract import Proof, check, names
from accorda.proofs.foreign import adapter, model
from accorda.proofs.foreign.behaviour import behaviour
from accorda.proofs.foreign.checkpoint import resumable
from accorda.proofs.foreign.folder import Folder
from accorda.proofs.foreign.settings import settings
from accorda.proofs.tensors import checksum, is_finite

UNSEEN = "only the run itself could see this, and it left no record"


def verify_folder(
    path: Path, base: Path | None = None, data: Any = None, columns: dict[str, str] | None = None
) -> list[Proof]:
    """The proofs of an adapter or a model folder that any tool wrote.

    Mask (settings; with rows, whether the end was learned), coverage, movement, save and, with rows, merge.

    Raises:
        Refusal: no such folder; pickle weights; a header or rows that cannot be read.
    """
    folder = Folder.at(path, base)
    ending, merge = behaviour(folder, data, columns)
    part = adapter if folder.kind == "adapter" else model
    return [
        Proof.of_checks("mask", [*settings(folder), *ending], "tokenizer, template and generation settings agree"),
        Proof.of_checks("coverage", part.coverage(folder), "the file and its base fit together", **_facts(folder)),
        Proof.of_checks("movement", part.at_rest(folder), "every factor has left its starting value"),
        _save(folder),
        Proof("packing", "not applicable", UNSEEN),
        Proof.of_checks("resume", resumable(path), "a trainer finds everything to go on from here"),
        merge,
    ]


def _facts(folder: Folder) -> dict[str, object]:
    wanted = ("peft_type", "r", "lora_alpha", "use_dora", "use_rslora", "target_modules", "base_model_name_or_path")
    found = {key: folder.config[key] for key in wanted if folder.config.get(key) is not None}
    return {"kind": folder.kind, "base": str(folder.base) if folder.base else None, "header": found}


def _save(folder: Folder) -> Proof:
    tensors = folder.tensors
    sums = {name: checksum(tensor) for name, tensor in tensors.items()}
    broken = [name for name, tensor in tensors.items() if not is_finite(tensor)]
    empty = [name for name, shape in tensors.shapes.items() if 0 in shape]
    checks = [
        check("files readable", not tensors.faults, f"{len(tensors.files)} files read", names(tensors.faults, 2)),
        check("tensors finite", not broken, f"all {len(sums)} tensors finite", f"not finite: {names(broken, 3)}"),
        check("tensors whole", bool(sums) and not empty, "no tensor is empty", _hollow(empty)),
    ]
    return Proof.of_checks("save", checks, f"{len(sums)} tensors read back, all finite", tensors=sums)


def _hollow(empty: list[str]) -> str:
    if not empty:
        return "the file holds no tensor at all"
    return f"empty tensors, as sharded trainers save them ungathered: {names(empty, 3)}"
