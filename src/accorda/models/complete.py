"""Whether a checkpoint filled its model: every tensor of the model read, every tensor of the files used."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open
from transformers import PreTrainedModel

from accorda.errors import Refusal

POOLER = "pooler"  # stands inside a backbone, but belongs to the classification head


def check_complete(model: PreTrainedModel, info: Mapping[str, Any], folder: Path, fresh_head: bool) -> tuple[str, ...]:
    """The names of the heads that the checkpoint lacks, which only `fresh_head` allows.

    Raises Refusal for other missing tensors, for tensors of another shape, and for tensors the model has no place for.
    """
    for name, here, wanted in info["mismatched_keys"]:
        raise Refusal(f"model: {name} in {folder} has shape {tuple(here)}, its config.json asks for {tuple(wanted)}")
    outside = [name for name in info["missing_keys"] if fresh_head and _is_head(name, model)]
    missing = sorted(set(info["missing_keys"]) - set(outside))
    if missing:
        raise Refusal(f"model: {folder} lacks {_some(missing)} that its config.json asks for")
    extra = sorted(name for name in info["unexpected_keys"] if not (fresh_head and _is_head(name, model)))
    if extra:
        raise Refusal(f"model: {folder} holds {_some(extra)} that {type(model).__name__} has no place for")
    return tuple(dict.fromkeys(_head_of(name, model) for name in sorted(outside)))


def lacking(model: PreTrainedModel, files: Iterable[Path]) -> tuple[str, ...]:
    """The names of the heads that checkpoint files lack, told from the names of their tensors alone."""
    held: set[str] = set()
    for path in files:
        with safe_open(path, framework="pt") as file:
            held |= {key.removeprefix(f"{model.base_model_prefix}.") for key in file.keys()}  # noqa: SIM118
    names = [name for name, _ in model.named_parameters() if _is_head(name, model)]
    missing = [name for name in names if name.removeprefix(f"{model.base_model_prefix}.") not in held]
    return tuple(dict.fromkeys(_head_of(name, model) for name in sorted(missing)))


def _is_head(name: str, model: PreTrainedModel) -> bool:
    return not name.startswith(f"{model.base_model_prefix}.") or f".{POOLER}." in name


def _head_of(name: str, model: PreTrainedModel) -> str:
    """The module of the head a tensor belongs to: "score" of "score.weight", "bert.pooler" of its dense layer."""
    if name.startswith(f"{model.base_model_prefix}."):
        return name.partition(f".{POOLER}.")[0] + f".{POOLER}"
    return name.partition(".")[0]


def _some(names: Iterable[str]) -> str:
    first, *rest = names
    return f"{first} and {len(rest)} more tensors" if rest else f"the tensor {first}"
