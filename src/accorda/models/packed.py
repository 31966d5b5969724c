"""A checkpoint read into a number format, tensor by tensor, with plain reads: the dense model never stands in memory.

transformers builds the model as always and gets every tensor but the linears' weights, for which it gets stand-ins: as
large in shape, one number in memory. Then each weight is read, cast, quantized and put in its place before the next.
A weight that the files hold in a number format already (bitsandbytes' layout) goes into its place as it is.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from accorda.errors import Refusal
from accorda.models import heap
from accorda.quantization import Format, QuantizedLinear, block_linears, formats, held_as, replace
from accorda.recipe.registries import listed

OTHER_STATE = ".weight.quant_state."

Slices = Mapping[str, Any]  # name in the files: what gives the tensor when it is indexed


@dataclass(frozen=True)
class Source:
    """What a weight is read from: a dense tensor, or the parts of one in a number format, named as `stored` does.

    name: of the dense tensor in the files, or what it would be called there.
    """

    number_format: Format
    name: str
    parts: Mapping[str, str]

    def layer(self, module: nn.Linear | Conv1D, slices: Slices) -> nn.Module:
        """The layer in its number format, read now."""
        conv1d = isinstance(module, Conv1D)
        if not self.parts:
            dense = slices[self.name][...].to(module.weight.dtype)
            weight = self.number_format.quantize(dense.T if conv1d else dense)
            return self.number_format.layer(weight, module.bias, conv1d)
        weight = self.number_format.read({name: slices[key][...] for name, key in self.parts.items()})
        layer = self.number_format.layer(weight, module.bias, conv1d)
        outputs, inputs = module.weight.shape[::-1] if conv1d else module.weight.shape
        if (layer.out_features, layer.in_features) != (outputs, inputs):
            found = f"({layer.out_features}, {layer.in_features})"
            raise Refusal(f"model: {self.name} has shape {found}, its config.json asks for {(outputs, inputs)}")
        return layer


@contextmanager
def opened(files: Iterable[Path]) -> Iterator[Slices]:
    """The tensors of weight files, each read by plain reads when it is asked for."""
    with ExitStack() as stack:
        handles = [stack.enter_context(safe_open(file, "pt", backend="pread")) for file in files]
        yield {name: handle.get_slice(name) for handle in handles for name in handle.keys()}  # noqa: SIM118


def read_packed(
    build: Callable[[dict[str, Any]], PreTrainedModel],
    skeleton: PreTrainedModel,
    files: Iterable[Path],
    wanted: Format | None,
    dtype: torch.dtype,
) -> PreTrainedModel:
    """The model of a checkpoint with its linears in a number format.

    Args:
        build: the dense model, checked, from tensors by their names in the files.
        skeleton: the same model on the meta device.
        files: of the checkpoint.
        wanted: what dense weights inside blocks enter; None: only what the files hold packed is packed.
        dtype: of what stays dense.
    """
    with opened(files) as slices:
        found = sources(slices, skeleton, wanted)
        if found:
            heap.map_large_blocks()
        shapes = {name: parameter.shape for name, parameter in skeleton.named_parameters()}
        packed = {key for source in found.values() for key in (source.name, *source.parts.values())}
        given: dict[str, Any] = {key: part for key, part in slices.items() if key not in packed}
        stand_in = torch.zeros((), dtype=dtype)
        for name, source in found.items():
            shape = shapes[name] if source.parts else slices[source.name].get_shape()
            given[source.name] = stand_in.expand(torch.Size(shape))
        model = build(given)
        for name, source in found.items():
            path = name.removesuffix(".weight")
            replace(model, path, source.layer(_dense(model, path), slices))
            heap.give_back()
    return model


def put_packed(skeleton: PreTrainedModel, files: Iterable[Path]) -> None:
    """Turn what the files hold packed into its number format, on the meta device."""
    with opened(files) as slices:
        for name, source in sources(slices, skeleton, None).items():
            path = name.removesuffix(".weight")
            replace(skeleton, path, source.number_format.linear(_dense(skeleton, path)))


def packed_state(model: PreTrainedModel, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict with the parts of packed weights under bitsandbytes' names instead of ours."""
    found = dict(state)
    for path, module in packed_linears(model).items():
        for name in module.held:
            found.pop(f"{path}.{name}", None)
        found |= {f"{path}.{name}": part for name, part in module.stored(model.dtype).items()}
    return found


def settings(model: PreTrainedModel) -> dict[str, Any] | None:
    """What config.json says of a model's number format, for transformers and for us; None for a dense model."""
    packed = packed_linears(model)
    if not packed:
        return None
    dense = [name for name, module in model.named_modules() if isinstance(module, nn.Linear | Conv1D)]
    said = {"quant_method": "bitsandbytes", **next(iter(packed.values())).settings, "llm_int8_skip_modules": dense}
    return said | {"bnb_4bit_compute_dtype": str(model.dtype).removeprefix("torch.")}


def packed_linears(model: nn.Module) -> dict[str, QuantizedLinear]:
    """The linears in a number format, by name."""
    return {name: module for name, module in model.named_modules() if isinstance(module, QuantizedLinear)}


def num_parameters(model: PreTrainedModel) -> int:
    """Parameters of a model, a linear in a number format counted by its shape: neither by its bytes nor its scales."""
    packed = packed_linears(model).values()
    held = sum(part.numel() for module in packed for name, part in module.named_parameters() if name in module.held)
    return model.num_parameters() - held + sum(module.in_features * module.out_features for module in packed)


def sources(slices: Slices, skeleton: PreTrainedModel, wanted: Format | None) -> dict[str, Source]:
    """By the names of a model's weights, what those are read from that are to be packed or are so already."""
    names = {name for name, _ in skeleton.named_parameters()}
    inside = {f"{name}.weight" for name, _ in block_linears(skeleton)} if wanted is not None else set[str]()
    found: dict[str, Source] = {}
    for key in slices:
        path = key.rpartition(".")[0]
        place = placed(f"{path}.weight", names, skeleton.base_model_prefix)
        if place is None or place in found:
            continue
        held = packed_as(path, slices)
        if held is not None:
            found[place] = held
        elif place in inside and wanted is not None and key == f"{path}.weight":
            found[place] = Source(wanted, key, {})
    return found


def packed_as(path: str, slices: Slices) -> Source | None:
    """How the files hold the weight of a module that they hold in a number format; None for a dense one."""
    held = held_as(path, slices.keys())
    if held is not None:
        return Source(held[0], f"{path}.weight", held[1])
    other = next((key for key in slices if key.startswith(f"{path}{OTHER_STATE}")), None)
    if other is not None:
        known = listed(formats(), "and")
        raise Refusal(f"model: {other.rpartition('__')[2]} weights ({path}) cannot be read; {known} can")
    return None


def placed(key: str, names: Iterable[str], prefix: str) -> str | None:
    """The name in the model of a tensor in the files, which may lack the backbone's prefix or have one too many."""
    spellings = (key, f"{prefix}.{key}", key.removeprefix(f"{prefix}."))
    return next((spelling for spelling in spellings if spelling in names), None)


def _dense(model: nn.Module, path: str) -> nn.Linear | Conv1D:
    module = model.get_submodule(path)
    if not isinstance(module, nn.Linear | Conv1D):
        raise Refusal(f"model: the files hold {path} in a number format, and here it is a {type(module).__name__}")
    return module


def all_known(skeleton: PreTrainedModel, files: Iterable[Path]) -> bool:
    """Whether the files name every weight inside the blocks as the model does, up to its prefix."""
    names = {name for name, _ in skeleton.named_parameters()}
    with opened(files) as slices:
        held = {placed(key, names, skeleton.base_model_prefix) for key in slices}
    return all(f"{name}.weight" in held for name, _ in block_linears(skeleton))
