"""Tensors in safetensors files: what the headers promise, what is there, and checksums of bytes."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from accorda.errors import Refusal

PICKLES = (".bin", ".pt", ".pth", ".ckpt")


class TensorFiles:
    """The tensors of `<stem>.safetensors`, or of the shards that `<stem>.safetensors.index.json` lists.

    `faults` holds one sentence per file that cannot be read or does not hold what the index promises.

    Raises:
        Refusal: no safetensors file of that stem in the folder; pickle files are named and not opened.
    """

    def __init__(self, folder: Path, stem: str):
        self.folder = folder
        self.faults: list[str] = []
        self.where: dict[str, Path] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.files = self._files(stem)
        for file in self.files:
            self._read_header(file)
        self._compare_index(stem)

    def get(self, name: str) -> Tensor:
        """One tensor, on the CPU, in the dtype it is stored in."""
        with safe_open(self.where[name], framework="pt") as file:
            return file.get_tensor(name)

    def items(self) -> Iterator[tuple[str, Tensor]]:
        """Every readable tensor, one at a time, file by file."""
        for path in self.files:
            names = [name for name, file in self.where.items() if file == path]
            if names:
                with safe_open(path, framework="pt") as file:
                    for name in names:
                        yield name, file.get_tensor(name)

    def _files(self, stem: str) -> list[Path]:
        index, single = self.folder / f"{stem}.safetensors.index.json", self.folder / f"{stem}.safetensors"
        if single.is_file():
            return [single]
        if index.is_file():
            return [self.folder / name for name in sorted(set(_weight_map(index).values()))]
        pickles = sorted(path.name for path in self.folder.iterdir() if path.suffix in PICKLES)
        if pickles:
            raise Refusal(
                f"{self.folder / pickles[0]}: a pickle file can run code and is not opened; save it again with "
                "safe_serialization (safetensors) in the tool that wrote it"
            )
        raise Refusal(f"{self.folder}: no {stem}.safetensors in this folder")

    def _read_header(self, path: Path) -> None:
        if not path.is_file():
            self.faults.append(f"{path.name} is named in the index and does not exist")
            return
        try:
            with safe_open(path, framework="pt") as file:
                names = file.keys()
                for name in names:
                    self.where[name] = path
                    self.shapes[name] = tuple(file.get_slice(name).get_shape())
        except (SafetensorError, OSError) as error:
            self.faults.append(f"{path.name} cannot be read: {error}")

    def _compare_index(self, stem: str) -> None:
        index = self.folder / f"{stem}.safetensors.index.json"
        if index.is_file() and not (self.folder / f"{stem}.safetensors").is_file():
            for name, file in _weight_map(index).items():
                if name not in self.where and (self.folder / file).is_file():
                    self.faults.append(f"{name} is named in the index and missing from {file}")


def _weight_map(index: Path) -> dict[str, str]:
    try:
        return dict(json.loads(index.read_text(encoding="utf-8"))["weight_map"])
    except (ValueError, KeyError, TypeError) as error:
        raise Refusal(f"{index}: no index of safetensors shards can be read from it ({error!r})") from error


def checksum(tensor: Tensor) -> str:
    """SHA-256 of a tensor's bytes in row-major order, together with its dtype and shape."""
    flat = tensor.detach().contiguous().reshape(-1).cpu()
    digest = hashlib.sha256(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
    for part in flat.split(1 << 24):  # bounded: a vocabulary of 2 GB is not copied at once
        digest.update(part.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def is_finite(tensor: Tensor) -> bool:
    """No infinity and no NaN in it; integers are finite."""
    return not tensor.is_floating_point() or bool(torch.isfinite(tensor.float()).all())
