"""Load a bare checkpoint: safetensors only, every tensor or none, our attention set."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from transformers import (
    GenerationConfig,
    PretrainedConfig,
    PreTrainedModel,
)

from accorda.errors import Refusal
from accorda.kernels import triton
from accorda.models.attention import use_attention
from accorda.models.compiled import bound_compiled_kernels
from accorda.models.complete import check_complete, lacking
from accorda.models.configuration import (
    HEADS,
    Head,
    check_kind,
    class_for,
    configuration,
    content_of,
    folder_configuration,
)
from accorda.models.fingerprint import fingerprint, fingerprint_of_packed
from accorda.models.folder import (
    checkpoint_dtype,
    declared_dtype,
    model_folder,
    read_config,
    stored_format,
    weight_files,
)
from accorda.models.fused import fuse
from accorda.models.labels import Labels
from accorda.models.packed import all_known, put_packed, read_packed
from accorda.models.quiet import quiet
from accorda.models.random_weights import random_packed
from accorda.models.room import require_room
from accorda.models.tokenizer import load_tokenizer, pad_token_id
from accorda.quantization import Format, number_format, quantize_model
from accorda.recipe.number_formats import DENSE

__all__ = ["load_model", "load_tokenizer", "pad_token_id"]

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
DTYPES |= {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def load_model(
    path: str | Path | None,
    *,
    quantization: str = "none",
    double_quantization: bool = True,
    dtype: str = "auto",
    device: str = "auto",
    head: Head | Labels = "language",
    config: str | Path | Mapping[str, Any] | None = None,
    seed: int = 0,
    trust_remote_code: bool = False,
) -> PreTrainedModel:
    """A bare model in eval mode with our attention, from a model folder or a hub id; no adapter is looked for.

    `config` (a config.json, its folder, or its content) makes random weights by `seed` instead. `dtype` "auto": what
    config.json says, else the weights' own; float32 for random weights. `device` "auto": CUDA where there is one;
    "meta" builds shapes without values. `head` "classification" and "reward" (one output) replace the language head;
    what the checkpoint lacks of them is drawn by `seed` and named in `new_heads(model)`. Labels in place of its name
    are what a classification head tells apart (else: what config.json says); one of the checkpoint must tell the same.
    `model.accorda_fingerprint` tells the base from others. `quantization` names the number format of the linears in
    blocks, which are then read one by one; a checkpoint that holds them in one is loaded as it is.

    Raises Refusal, in one line, for whatever is missing, broken, incomplete, pickled, unknown or of another kind.
    """
    bound_compiled_kernels()
    options = _options(dtype, device, head, trust_remote_code)
    wanted = _wanted(quantization, double_quantization)
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if config is not None:
            model = _from_config(configuration(content_of(config), "model.config"), options, wanted)
        elif path is not None:
            model = _from_folder(model_folder(path, code=trust_remote_code), options, wanted)
            model.name_or_path = model.config.name_or_path = str(path)  # not the folder a hub id was downloaded to
        else:
            raise Refusal("model.path: name a model folder or a hub id, or give model.config for random weights")
    use_attention(model)
    torch.nn.Module.to(model, options.device)
    fuse(model, compiled=triton.runs_on(options.device))
    return model.eval()


@dataclass(frozen=True)
class _Options:
    dtype: torch.dtype | None  # None: the checkpoint's
    device: torch.device
    head: Head
    code: bool
    labels: Labels | None = None

    @property
    def meta(self) -> bool:
        return self.device.type == "meta"


def _options(dtype: str, device: str, head: Head | Labels, code: bool) -> _Options:
    """What was asked for, checked before anything is read."""
    labels = head if isinstance(head, Labels) else None
    head = head if not isinstance(head, Labels) else "classification"
    for name, value, known in (("model.dtype", dtype, ("auto", *DTYPES)), ("head", head, HEADS)):
        if value not in known:
            raise Refusal(f"{name}: {value!r} is not one of {', '.join(known)}")
    place = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    try:
        found = torch.device(place)
    except RuntimeError as error:
        raise Refusal(f"device: {device!r} is not a device (auto, cpu, cuda, cuda:1, meta)") from error
    if found.type == "cuda" and not torch.cuda.is_available():
        raise Refusal(f"device: {device!r} is not here; use cpu or auto")
    return _Options(DTYPES.get(dtype), found, head, code, labels)


def _wanted(quantization: str, double_quantization: bool) -> Format | None:
    """The number format asked for."""
    if quantization != DENSE:
        return number_format(quantization, double_quantization=double_quantization)
    if not double_quantization:
        raise Refusal("model.double_quantization = false: only means something with model.quantization: nf4")
    return None


def _finish(model: PreTrainedModel, files: list[Path], options: _Options, wanted: Format | None) -> None:
    """Note the fingerprint of a dense model, and quantize it where that is asked for."""
    if not options.meta:
        cast(Any, model).accorda_fingerprint = fingerprint(model, files)
    if wanted is not None:
        quantize_model(model, wanted)


def _random(config: PretrainedConfig, options: _Options) -> PreTrainedModel:
    """A model with fresh weights, drawn on the CPU so that every device gets the same."""
    check_kind(config, options.head, options.labels)
    with torch.device("meta" if options.meta else "cpu"):
        model = class_for(options.head, config).from_config(config, dtype=options.dtype or torch.float32)
    if options.head != "language":
        others = [name for name, child in model.named_children() if child is not model.base_model]
        model.accorda_new_heads = tuple(name for name in others if list(model.get_submodule(name).parameters()))
    return model


def _from_config(config: PretrainedConfig, options: _Options, wanted: Format | None) -> PreTrainedModel:
    """A model with fresh weights, in a number format where that is asked for."""
    if wanted is not None and not options.meta:
        return random_packed(lambda: _random(config, options), wanted)
    if not options.meta:
        require_room(lambda: _random(copy.deepcopy(config), replace(options, device=torch.device("meta"))))
    model = _random(config, options)
    _finish(model, [], options, wanted)
    return model


def _from_folder(folder: Path, options: _Options, wanted: Format | None) -> PreTrainedModel:
    """The checkpoint of a folder, complete, in the number format it has or gets."""
    stored = stored_format(read_config(folder))
    if stored is not None and wanted is not None and wanted.name != stored.name:
        raise Refusal(
            f"model.quantization: {wanted.name!r}, but {folder} holds weights in {stored.name} already; leave it out"
        )
    config = folder_configuration(folder, options.code)
    check_kind(config, options.head, options.labels)
    files = weight_files(folder)
    options = replace(
        options, dtype=options.dtype or DTYPES[declared_dtype(config.to_dict()) or checkpoint_dtype(files)]
    )
    if options.meta:
        return _shape_of(config, files, options, None if stored else wanted)
    if stored is None and wanted is None:
        return _dense(folder, config, files, options, None)
    ours = not type(config).__module__.startswith("transformers_modules")
    skeleton = _random(copy.deepcopy(config), replace(options, device=torch.device("meta"))) if ours else None
    if skeleton is None or (stored is None and not all_known(skeleton, files)):
        return _dense(folder, config, files, options, wanted)
    model = read_packed(
        lambda tensors: _checkpoint(folder, config, options, tensors, type(skeleton)),
        skeleton,
        files,
        None if stored else wanted,
        options.dtype or torch.float32,
    )
    cast(Any, model).accorda_fingerprint = (fingerprint_of_packed if stored else fingerprint)(skeleton, files)
    return model


def _shape_of(config: PretrainedConfig, files: list[Path], options: _Options, wanted: Format | None) -> PreTrainedModel:
    """The model on the meta device, its linears in the format asked for or that of the files."""
    model = _random(config, options)
    if options.head != "language":
        cast(Any, model).accorda_new_heads = lacking(model, files)
    put_packed(model, files)
    _finish(model, files, options, wanted)
    return model


def _dense(
    folder: Path, config: PretrainedConfig, files: list[Path], options: _Options, wanted: Format | None
) -> PreTrainedModel:
    """The dense checkpoint, quantized in memory where a number format is asked for."""
    model = _checkpoint(folder, config, options, None)
    _finish(model, files, options, wanted)
    return model


def _checkpoint(
    folder: Path,
    config: PretrainedConfig,
    options: _Options,
    tensors: dict[str, Any] | None,
    kind: Any = None,
) -> PreTrainedModel:
    """A folder's model as transformers loads it, complete; of this class from these tensors instead, where given."""
    how: dict[str, Any] = {"config": config, "dtype": options.dtype, "output_loading_info": True}
    how["ignore_mismatched_sizes"] = True  # so that they are reported to us instead of to the screen
    if tensors is not None:
        how["generation_config"] = _generation_config(folder)
        model, info = kind.from_pretrained(None, state_dict=tensors, **how)
    else:
        how |= {"use_safetensors": True, "local_files_only": True, "trust_remote_code": options.code}
        model, info = class_for(options.head, config).from_pretrained(folder, **how)
    model.accorda_new_heads = check_complete(model, info, folder, options.head != "language")
    return model


def _generation_config(folder: Path) -> GenerationConfig:
    """What a folder says of generation: in its own file, else in config.json."""
    if (folder / "generation_config.json").is_file():
        return GenerationConfig.from_pretrained(folder, local_files_only=True)
    return GenerationConfig.from_pretrained(folder, config_file_name="config.json", local_files_only=True)
