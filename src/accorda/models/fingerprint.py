"""Which base this is: a short hash of its backbone, the same from checkpoint files and from a model loaded as saved.

Each tensor gives its shape and up to 512 of its values, in eight runs spread over it, as float32. Names do not count:
prefixes and tied tensors do not matter, nor does the dtype or number format a model is loaded in, the hash being taken
from the files. It tells one base from another; it is no checksum of every byte.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from accorda.models.complete import POOLER
from accorda.quantization import QuantizedLinear

RUNS, RUN_LENGTH = 8, 64
METADATA = "__metadata__"
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
NOTE = "fingerprint.json"  # beside weight files that hold a number format


def fingerprint(model: PreTrainedModel, files: Iterable[Path] = ()) -> dict[str, Any]:
    """Model type, number of backbone parameters and hash: from checkpoint files, or, without any, from the model.

    Raises ValueError for a model without values (meta device) or with quantized ones, when there are no files.
    """
    parameters = backbone_parameters(model)
    tensors = _from_files(files, model, parameters)
    if len(tensors) < len(parameters):  # no files, or names that transformers converts on the way
        if any(p.is_meta for p in parameters.values()) or any(isinstance(m, QuantizedLinear) for m in model.modules()):
            raise ValueError("a model without dense values has no fingerprint of its own: take that of its files")
        tensors = {name: digest(parameter) for name, parameter in parameters.items()}
    return told(model, sum(parameter.numel() for parameter in parameters.values()), tensors.values())


def told(model: PreTrainedModel, num_parameters: int, digests: Iterable[bytes]) -> dict[str, Any]:
    """The fingerprint of a model of which the digest of every tensor of the backbone is known."""
    whole = hashlib.sha256(b"".join(sorted(set(digests)))).hexdigest()
    return {"model_type": model.config.model_type, "num_parameters": num_parameters, "sha256": whole}


def fingerprint_of_packed(skeleton: PreTrainedModel, files: Iterable[Path]) -> dict[str, Any]:
    """That of a checkpoint in a number format: of the dense one it was made from, where a note beside it says which.

    `skeleton`: the dense model, on the meta device, for its type and size.
    """
    files = list(files)
    own, note = _of_files(files), files[0].parent / NOTE
    noted = json.loads(note.read_text(encoding="utf-8")) if note.is_file() else {}
    if noted.get("packed") == own:
        return noted["base"]
    return {
        "model_type": skeleton.config.model_type,
        "num_parameters": sum(parameter.numel() for parameter in backbone_parameters(skeleton).values()),
        "sha256": own,
    }


def note_base(base: Mapping[str, Any], folder: Path, files: Iterable[Path]) -> None:
    """Write beside the packed weights in a folder which dense checkpoint they were made from."""
    note = {"base": dict(base), "packed": _of_files(files)}
    (folder / NOTE).write_text(json.dumps(note, indent=2), encoding="utf-8")


def _of_files(files: Iterable[Path]) -> str:
    found = {digest for file in files for _, digest in _digests(file)}
    return hashlib.sha256(b"".join(sorted(found))).hexdigest()


def shape_of_base(model: PreTrainedModel) -> dict[str, Any]:
    """What a model tells without its files: type and, where its weights are dense, number of backbone parameters.

    The values of a model are no substitute for those of its files: loading may have rounded them.
    """
    found: dict[str, Any] = {"model_type": model.config.model_type}
    if not any(isinstance(module, QuantizedLinear) for module in model.modules()):
        found["num_parameters"] = sum(parameter.numel() for parameter in backbone_parameters(model).values())
    return found


def backbone_parameters(model: PreTrainedModel) -> dict[str, Tensor]:
    """The parameters of the backbone by their full names, without what methods hung on it, and without a pooler.

    A pooler belongs to the classification head: which class is loaded decides whether there is one, or a fresh one.
    """
    backbone = model.base_model
    prefix = "" if backbone is model else f"{model.base_model_prefix}."
    named = {f"{prefix}{name}": parameter for name, parameter in backbone.named_parameters()}
    others = (".adapters", ".originals.", f".{POOLER}.")
    return {name: parameter for name, parameter in named.items() if not any(other in f".{name}" for other in others)}


def _from_files(files: Iterable[Path], model: PreTrainedModel, parameters: dict[str, Tensor]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for file in files:
        for name, digest in _digests(file, lambda name: _full(name, model, parameters) in parameters):
            found[_full(name, model, parameters)] = digest
    return found


def _full(name: str, model: PreTrainedModel, parameters: dict[str, Tensor]) -> str:
    """The name of a file's tensor in the model."""
    return name if name in parameters else f"{model.base_model_prefix}.{name}"


def _digests(file: Path, wanted: Callable[[str], bool] = lambda _: True) -> Iterator[tuple[str, bytes]]:
    """Name and digest of tensors in a file, of which no more is read than the digest needs."""
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
        for name, entry in header.items():
            if name != METADATA and wanted(name):
                dtype, begin = DTYPES[entry["dtype"]], 8 + length + entry["data_offsets"][0]

                def run(start: int, stop: int, dtype: torch.dtype = dtype, begin: int = begin) -> Tensor:
                    stream.seek(begin + start * dtype.itemsize)
                    return torch.frombuffer(bytearray(stream.read((stop - start) * dtype.itemsize)), dtype=dtype)

                yield name, _digest(tuple(entry["shape"]), run)


def _digest(shape: tuple[int, ...], run: Callable[[int, int], Tensor]) -> bytes:
    """Of a tensor's shape and some of its values; `run` gives those from one place to another."""
    numbers = math.prod(shape)
    if numbers > RUNS * RUN_LENGTH:
        starts = [place * (numbers - RUN_LENGTH) // (RUNS - 1) for place in range(RUNS)]
        flat = torch.cat([run(start, start + RUN_LENGTH) for start in starts])
    else:
        flat = run(0, numbers) if numbers else torch.empty(0)
    values = flat.to("cpu", torch.float32).contiguous().numpy().tobytes()
    return hashlib.sha256(str(shape).encode() + values).digest()


def digest(tensor: Tensor) -> bytes:
    """Of a tensor's shape and some of its values."""
    flat = tensor.detach().reshape(-1)
    return _digest(tuple(tensor.shape), lambda start, stop: flat[start:stop])
