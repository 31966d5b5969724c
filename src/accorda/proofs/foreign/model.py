"""Does a model folder hold every tensor its config asks for, and no other?"""

from typing import Any

import torch
from transformers import AutoConfig

from accorda.models.configuration import class_for
from accorda.models.quiet import quiet
from accorda.proofs.contract import Check, check, names
from accorda.proofs.foreign.folder import Folder
from accorda.proofs.tensors import checksum


def coverage(folder: Folder) -> list[Check]:
    """Names and shapes in the files against the architecture that config.json describes, as transformers loads them."""
    if folder.tensors.faults:
        return [Check("keys", "not applicable", "the weight files cannot all be read")]
    try:
        with quiet():
            loaded: Any = class_for("language", AutoConfig.from_pretrained(folder.path)).from_pretrained(
                folder.path, output_loading_info=True, ignore_mismatched_sizes=True, dtype="auto"
            )
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        return [Check("keys", "fails", f"transformers cannot load it: {error}")]
    found: dict[str, Any] = loaded[1]
    missing, unexpected = sorted(found["missing_keys"]), sorted(found["unexpected_keys"])
    wrong = [f"{name} is {list(has)}, not {list(asked)}" for name, has, asked in sorted(found["mismatched_keys"])]
    return [
        check("keys complete", not missing, f"{len(folder.tensors.where)} tensors: all", f"no {names(missing, 3)}"),
        check("keys known", not unexpected, "no tensor too many", f"nothing reads {names(unexpected, 3)}"),
        check("shapes fit", not wrong, "every shape is the one config.json asks for", names(wrong, 3)),
        _tie_kept(folder),
    ]


def at_rest(folder: Folder) -> list[Check]:
    """Against a base: which tensors are bit for bit the base's."""
    if folder.base is None:
        return [
            Check(
                "moved from base",
                "not applicable",
                "to compare, give the base it was tuned from with --base, or base= from Python",
            )
        ]
    before = Folder(folder.base, "model", None).tensors
    now = folder.tensors
    common = sorted(set(before.where) & set(now.where))
    same = [name for name in common if checksum(before.get(name)) == checksum(now.get(name))]
    alien = [name for name in common if before.shapes[name] != now.shapes[name]]
    return [
        check(
            "shapes of the base",
            bool(common) and not alien,
            f"{len(common)} tensors have the base's name and shape",
            f"another base: {names(alien, 3)}" if alien else "no tensor has a name that the base knows",
        ),
        check(
            "moved from base",
            len(same) < len(common),
            f"{len(common) - len(same)} of {len(common)} tensors differ from the base",
            "every tensor is bit for bit the base's: nothing was trained, or the base was saved instead",
        ),
    ]


def _tie_kept(folder: Folder) -> Check:
    """Tensors that config.json calls one must be equal in the file: transformers 5 keeps both, other loaders do not."""
    tied: dict[str, str] = getattr(folder.skeleton, "all_tied_weights_keys", None) or {}
    both = [(a, b) for a, b in tied.items() if a in folder.tensors.where and b in folder.tensors.where]
    apart = [f"{a} and {b}" for a, b in both if not torch.equal(folder.tensors.get(a), folder.tensors.get(b))]
    return check(
        "ties kept",
        not apart,
        "no two tensors in the file differ that config.json ties together",
        f"{names(apart, 2)} differ, and config.json ties them: a loader that trusts it loses one of the two; set "
        "tie_word_embeddings to false",
    )
