"""Which base this is: a short hash of its backbone, the same from checkpoint files and from a model loaded as saved.

Each tensor gives its shape and up to 512 of its values, in eight runs spread over it, as float32. Names do not count:
prefixes and tied tensors do not matter, nor does the dtype or number format a model is loaded in, the hash being taken
from the files. It tells one base from another; it is no checksum of every byte.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor
from transformers import PreTrainedModel

from accorda.models.complete import POOLER
from accorda.quantization import QuantizedLinear

RUNS, RUN_LENGTH = 8, 64


def fingerprint(model: PreTrainedModel, files: Iterable[Path] = ()) -> dict[str, Any]:
    """Model type, number of backbone parameters and hash: from checkpoint files, or, without any, from the model.

    Raises ValueError for a model without values (meta device) or with quantized ones, when there are no files.
    """
    parameters = backbone_parameters(model)
    tensors = _from_files(files, model, parameters)
    if len(tensors) < len(parameters):  # no files, or names that transformers converts on the way
        if any(p.is_meta for p in parameters.values()) or any(isinstance(m, QuantizedLinear) for m in model.modules()):
            raise ValueError("a model without dense values has no fingerprint of its own: take that of its files")
        tensors = {name: _digest(parameter) for name, parameter in parameters.items()}
    digest = hashlib.sha256(b"".join(sorted(set(tensors.values())))).hexdigest()
    return {
        "model_type": model.config.model_type,
        "num_parameters": sum(parameter.numel() for parameter in parameters.values()),
        "sha256": digest,
    }


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
        with safe_open(file, "pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 (not a mapping)
                full = name if name in parameters else f"{model.base_model_prefix}.{name}"
                if full in parameters:
                    found[full] = _digest(tensors.get_tensor(name))
    return found


def _digest(tensor: Tensor) -> bytes:
    flat = tensor.detach().reshape(-1)
    if len(flat) > RUNS * RUN_LENGTH:
        starts = [run * (len(flat) - RUN_LENGTH) // (RUNS - 1) for run in range(RUNS)]
        flat = torch.cat([flat[start : start + RUN_LENGTH] for start in starts])
    values = flat.to("cpu", torch.float32).contiguous().numpy().tobytes()
    return hashlib.sha256(str(tuple(tensor.shape)).encode() + values).digest()
