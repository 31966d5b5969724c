"""The two files of an adapter: adapter_config.json and adapter_model.safetensors, written as a whole, read strictly."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from accorda.errors import Refusal
from accorda.models.tensor_file import write_tensors
from accorda.runs.replace import recover, replaced

CONFIG = "adapter_config.json"
TENSORS = "adapter_model.safetensors"
PICKLE = "adapter_model.bin"
_OURS = {CONFIG, TENSORS, PICKLE}


@dataclass(frozen=True)
class Files:
    """What the two files hold."""

    config: dict[str, Any]
    metadata: dict[str, str]
    tensors: dict[str, Tensor]


def is_adapter(folder: str | Path) -> bool:
    """Whether the folder holds an adapter, ours or PEFT's."""
    return (Path(folder) / CONFIG).is_file()


def write(folder: str | Path, files: Files, beside: Callable[[Path], None] | None = None) -> None:
    """Write both files, and what `beside` puts into the folder it is given, then rename the folder into place.

    An adapter that stands there is replaced; other files in its folder stay. The bytes depend on nothing but the
    contents. Raises `Refusal` for a folder with files but no adapter.
    """
    folder = Path(folder)
    recover(folder)
    if folder.exists() and not (folder.is_dir() and (is_adapter(folder) or not any(folder.iterdir()))):
        raise Refusal(f"{folder}: not an adapter folder and not empty; save to a new folder")
    with replaced(folder) as new:
        _keep_others(folder, new)
        (new / CONFIG).write_text(json.dumps(files.config, indent=2, sort_keys=True) + "\n")
        write_tensors(new / TENSORS, files.tensors, files.metadata | {"format": "pt"})
        if beside is not None:
            beside(new)
        _check(new, files)


def read(folder: str | Path) -> Files:
    """Read both files. Raises `Refusal` for a file that is missing, broken or a pickle."""
    folder = Path(folder)
    config, path = read_config(folder), _tensor_file(folder)
    try:
        with safe_open(path, framework="pt") as file:
            return Files(config, file.metadata() or {}, {key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise Refusal(f"{path}: broken safetensors file ({error}); copy or save the adapter again") from None


def read_config(folder: str | Path) -> dict[str, Any]:
    """The mapping in adapter_config.json."""
    recover(folder)
    path = Path(folder) / CONFIG
    if not path.is_file():
        raise Refusal(f"{folder}: not an adapter folder ({CONFIG} is missing)")
    try:
        config = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise Refusal(f"{path}: not JSON ({error}); copy or save the adapter again") from None
    if not isinstance(config, dict):
        raise Refusal(f"{path}: expected a JSON object, found {type(config).__name__}")
    return config


def read_metadata(folder: str | Path) -> dict[str, str]:
    """The metadata of the tensor file, without its tensors."""
    path = _tensor_file(Path(folder))
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise Refusal(f"{path}: broken safetensors file ({error}); copy or save the adapter again") from None


def _tensor_file(folder: Path) -> Path:
    path = folder / TENSORS
    if not path.is_file() and (folder / PICKLE).is_file():
        raise Refusal(
            f"{folder / PICKLE}: a pickle can run code when it is read; write it as safetensors where you trust it: "
            f"peft.PeftModel.from_pretrained(base, {str(folder)!r}).save_pretrained(new_folder)"
        )
    if not path.is_file():
        raise Refusal(f"{folder}: {TENSORS} is missing; the adapter is not complete")
    return path


def _keep_others(folder: Path, new: Path) -> None:
    """Copy what else the old folder holds: a tokenizer, a model card."""
    if folder.is_dir():
        shutil.copytree(folder, new, dirs_exist_ok=True, ignore=lambda at, _: _OURS if Path(at) == folder else ())


def _check(folder: Path, files: Files) -> None:
    """Read back what was written, one tensor at a time, before it takes the place of anything."""
    same = read_config(folder) == files.config
    with safe_open(folder / TENSORS, framework="pt", backend="pread") as file:
        same = same and set(file.keys()) == files.tensors.keys()
        if not same or not all(equal_bytes(file.get_tensor(name), tensor) for name, tensor in files.tensors.items()):
            raise OSError(f"{folder}: what was read back is not what was written")


def equal_bytes(one: Tensor, other: Tensor) -> bool:
    """Equal in dtype, shape and every bit, NaN included."""
    other = other.detach().cpu()
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return torch.equal(one.contiguous().flatten().view(torch.uint8), other.contiguous().flatten().view(torch.uint8))
