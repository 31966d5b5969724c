"""DoRA in PEFT's format: a LoRA file with a magnitude for every output row of a module.

On parts of a fused projection PEFT gives a magnitude to every row; rows of no part get the norm of the base's own row,
which leaves them as they are.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from accorda.errors import Refusal
from accorda.methods.base import Base
from accorda.methods.contract import Method
from accorda.methods.reparametrized.dora import DoRA, DoRAAdapter, start_magnitude
from accorda.methods.storage.peft import lora
from accorda.methods.storage.peft_config import PREFIX, read_fields
from accorda.methods.storage.peft_parts import Part, hosted
from accorda.methods.storage.strict import check_tensors

PEFT_TYPE = "LORA"
NEAR = 0.02  # of a norm: what a number format of the base may change in it


def reads(config: Mapping[str, Any]) -> bool:
    """LoRA files with magnitudes."""
    return bool(config.get("use_dora"))


def fits(methods: Sequence[Method], model: PreTrainedModel, name: str) -> bool:
    """DoRA alone, one of them on a module."""
    if not all(isinstance(method, DoRA) for method in methods):
        return False
    numbers = [{key.partition("_")[0] for key, _, _ in parts} for _, _, parts in lora.modules(model, name)]
    return all(len(number) == 1 for number in numbers) and lora.has_one_scaling(model, name)


def config(methods: Sequence[Method], model: PreTrainedModel, name: str) -> dict[str, Any]:
    """The fields of a LoraConfig."""
    return lora.config(methods, model, name) | {"use_dora": True}


def encode(model: PreTrainedModel, name: str) -> dict[str, Tensor]:
    """The tensors of the file: per module lora_A (R, I), lora_B (O, R) and the magnitudes (O,)."""
    tensors = lora.encode(model, name)
    for path, norms, parts in _magnitudes(model, name):
        for _, adapter, rows in parts:
            own = adapter.magnitude.detach().cpu()
            norms = own if rows is None else norms.index_copy(0, rows, own)
        tensors[_key(path)] = norms
    return tensors


def decode(
    model: PreTrainedModel, name: str, config: Mapping[str, Any], tensors: Mapping[str, Tensor], where: str
) -> dict[str, Tensor]:
    """The tensors of the installed adapter, under their own names, from those of the file."""
    check_tensors(encode(model, name), tensors, where)
    products = {key: tensor for key, tensor in tensors.items() if not key.endswith(".lora_magnitude_vector")}
    own = lora.decode(model, name, config, products, where)
    for path, norms, parts in _magnitudes(model, name):
        found, outside = tensors[_key(path)], torch.ones(len(norms), dtype=torch.bool)
        for key, _, rows in parts:
            own[f"{path}.{key}.magnitude"] = found if rows is None else found[rows]
            outside[slice(None) if rows is None else rows] = False
        if not torch.allclose(found[outside].float(), norms[outside], rtol=NEAR, atol=0):
            raise Refusal(f"{where}: {path}.lora_magnitude_vector changes rows that the adapter was not made for")
    return own


def methods(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], model: PreTrainedModel, where: str
) -> tuple[Method, ...]:
    """The DoRA, or one for every rank and alpha, that computes what a file by PEFT describes."""
    fields = read_fields(lora.Fields, config, {*lora.UNUSED, "use_dora"}, where)
    return tuple(
        DoRA(
            target_modules=targets,
            rank=rank,
            alpha=alpha * (rank**0.5 if fields.use_rslora else 1.0),
            dropout=fields.lora_dropout,
        )
        for targets, rank, alpha in lora.sized(fields, tensors, model, where)
    )


def _magnitudes(model: PreTrainedModel, name: str) -> Iterator[tuple[str, Tensor, list[Part[DoRAAdapter]]]]:
    """The modules with a DoRA, the norms of the base's rows (O,) on the CPU, and the parts on each."""
    for path, module, parts in hosted(model, name, (DoRAAdapter,)):
        yield path, start_magnitude(Base(module).weight).cpu(), parts


def _key(path: str) -> str:
    return f"{PREFIX}{path}.lora_magnitude_vector"
