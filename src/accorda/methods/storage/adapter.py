"""Save an adapter of a model and load it again, bit for bit, in PEFT's format where PEFT knows the method."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from accorda.errors import Refusal
from accorda.methods.contract import Method
from accorda.methods.install import install, installed, own_tensors, remove
from accorda.methods.registry import read as read_method
from accorda.methods.registry import write as write_method
from accorda.methods.storage import files, peft_layernorm, peft_lora, peft_prompt
from accorda.methods.storage.peft_config import PREFIX, common
from accorda.methods.storage.strict import check_tensors
from accorda.models.heads import new_heads

VERSION = 1
OWN_TYPE = "ACCORDA"  # a peft_type PEFT does not know, so that it refuses by name
PEFT_FORMATS: dict[str, ModuleType] = {module.PEFT_TYPE: module for module in (peft_lora, peft_layernorm, peft_prompt)}
TASKS = {
    "ForCausalLM": "CAUSAL_LM",
    "LMHeadModel": "CAUSAL_LM",
    "ForSequenceClassification": "SEQ_CLS",
    "ForTokenClassification": "TOKEN_CLS",
    "ForConditionalGeneration": "SEQ_2_SEQ_LM",
}


def save_adapter(
    model: PreTrainedModel,
    folder: str | Path,
    name: str = "default",
    *,
    beside: Callable[[Path], None] | None = None,
) -> None:
    """Write an installed adapter and the model's new heads to a folder, whole or not at all.

    Files: adapter_config.json and adapter_model.safetensors (fp32), which plain PEFT loads where it knows the method.

    Args:
        model: the model that carries the adapter.
        folder: a new folder, or one that holds an adapter, which is replaced; other files in it stay.
        name: the adapter's name on the model; it is not stored.
        beside: called with the folder being written, to put more files into it (tokenizer, renderer).

    Raises:
        Refusal: no such adapter; the folder holds other things.
    """
    methods = _methods_of(model, name)
    form = next((form for form in PEFT_FORMATS.values() if form.fits(methods, model, name)), None)
    header = {"version": VERSION, "methods": [write_method(m) for m in methods], "base": _fingerprint(model)}
    base = getattr(model, "name_or_path", None) or None
    if form is None:
        config = {files.HEADER: header, "peft_type": OWN_TYPE, "base_model_name_or_path": base}
        tensors, metadata = own_tensors(model, name) | _heads(model, ""), {}
    else:
        heads = _heads(model, _head_prefix(form))
        config = common(form.PEFT_TYPE, _task(model), base) | form.config(methods, model, name)
        config["modules_to_save"] = sorted(new_heads(model)) or None
        tensors = form.encode(model, name) | heads
        metadata = {files.HEADER: json.dumps(header, sort_keys=True)}
    files.write(folder, files.Files(config, metadata, {key: _stored(tensor) for key, tensor in tensors.items()}), beside)


def load_adapter(
    model: PreTrainedModel, folder: str | Path, name: str = "default", trainable: bool = False
) -> PreTrainedModel:
    """Install the adapter of a folder, written by accorda or by PEFT, and append its name to the active ones.

    Args:
        model: the base the adapter was trained on.
        folder: an adapter folder.
        name: what the adapter is called on this model.
        trainable: whether its tensors ask for gradients.

    Raises:
        Refusal: no adapter, broken files, another base, tensors missing, unexpected or of another shape, or a PEFT
            setting that no method here computes. The model is left as it was.
    """
    content, where = files.read(folder), str(folder)
    form, methods = _described(content, model, where)
    state = torch.random.get_rng_state()
    install(model, methods, name)
    torch.random.set_rng_state(state)  # the start values drawn are of no use, so nothing was drawn
    try:
        _fill(model, name, form, content, where)
    except BaseException:
        remove(model, name)
        raise
    for tensor in own_tensors(model, name).values():
        if tensor.is_floating_point():
            tensor.requires_grad_(trainable)
    return model
