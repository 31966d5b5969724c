"""Save an adapter of a model and load it again, bit for bit, in PEFT's format where PEFT knows the method."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from accorda.errors import Refusal
from accorda.methods.contract import Method
from accorda.methods.install import install, installed, kept_tensors, own_tensors, remove
from accorda.methods.registry import read as read_method
from accorda.methods.registry import write as write_method
from accorda.methods.storage import files
from accorda.methods.storage.base import check_base, fingerprint_of, note_format, number_format
from accorda.methods.storage.header import KEY as HEADER
from accorda.methods.storage.header import Header, header_of
from accorda.methods.storage.peft import format_for, format_of, formats, head_prefix
from accorda.methods.storage.peft_config import PREFIX, common
from accorda.methods.storage.strict import about, check_tensors
from accorda.methods.targets import base_parameters
from accorda.methods.vocabulary import grow_by
from accorda.models.heads import new_heads
from accorda.models.labels import Labels, is_classifier
from accorda.models.vocabulary import AddedTokens, added_tokens
from accorda.recipe.reader import read

OWN_TYPE = "ACCORDA"  # a peft_type PEFT does not know, so that it refuses by name
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
    methods = tuple(method.kept() for method in _methods_of(model, name))
    form = format_for(methods, model, name) if added_tokens(model) is None else None  # PEFT grows no base
    written = tuple(write_method(method) for method in methods)
    added = added_tokens(model)
    header = Header(
        methods=written,
        base=fingerprint_of(model),
        quantization=number_format(model),
        added_tokens=None if added is None else added.to_dict(),
        labels=_labels(model),
    ).to_dict()
    base = getattr(model, "name_or_path", None) or None
    if form is None:
        config = {HEADER: header, "peft_type": OWN_TYPE, "base_model_name_or_path": base}
        tensors, metadata = kept_tensors(model, name) | _heads(model, ""), {}
    else:
        heads = _heads(model, head_prefix(form))
        config = common(form.PEFT_TYPE, _task(model), base) | form.config(methods, model, name)
        config["modules_to_save"] = sorted(new_heads(model)) or None
        tensors = form.encode(model, name) | heads
        metadata = {HEADER: json.dumps(header, sort_keys=True)}
    files.write(
        folder, files.Files(config, metadata, {key: _stored(tensor) for key, tensor in tensors.items()}), beside
    )


def load_adapter(
    model: PreTrainedModel,
    folder: str | Path,
    name: str = "default",
    trainable: bool = False,
    *,
    keep_head: bool = False,
) -> PreTrainedModel:
    """Install the adapter of a folder, written by accorda or by PEFT, and append its name to the active ones.

    Args:
        model: the base the adapter was trained on.
        folder: an adapter folder.
        name: what the adapter is called on this model.
        trainable: whether it can be trained further; otherwise none of its tensors asks for gradients.
        keep_head: an adapter of a language model may go under a head that was made anew, which stays as it is.

    Raises:
        Refusal: no adapter, broken files, another base, tensors missing, unexpected or of another shape, or a PEFT
            setting that no method here computes. The model is left as it was.
    """
    content, where, before = files.read(folder), str(folder), installed(model)
    header = header_of(content.config, content.metadata, where)
    kept = keep_head and bool(new_heads(model)) and header is not None and header.labels is None
    form, methods, added = _described(content, header, model, where, kept)
    state = torch.random.get_rng_state()
    with about(where):
        shrink = grow_by(model, added) if added is not None else lambda: None
    try:
        with about(where):
            install(model, methods, name)
        torch.random.set_rng_state(state)  # the start values drawn are of no use, so nothing was drawn
        _fill(model, name, form, content, where, kept)
    except BaseException:
        if name in installed(model) and name not in before:
            remove(model, name)
        shrink()
        raise
    for tensor in () if trainable else (own_tensors(model, name) | _heads(model, "")).values():
        if isinstance(tensor, nn.Parameter):
            tensor.requires_grad_(False)
    return model


def read_header(folder: str | Path) -> dict[str, Any]:
    """What a folder's files say about its adapter, without reading a tensor or knowing the base.

    Keys: "methods" (their recipe entries), "base" (its fingerprint), "quantization" (of the base in training),
    "added_tokens" (what the base was grown by), "labels" (what a classification head tells apart) and "version", each
    None in a file by another tool or where it does not apply; "base_path" (the base as it was named in training) and
    "peft_type".

    Raises:
        Refusal: no adapter, or broken files.
    """
    config = files.read_config(folder)
    header = header_of(config, files.read_metadata(folder), str(folder))
    ours: dict[str, Any] = dict.fromkeys(("version", "methods", "base", "quantization", "added_tokens", "labels"))
    named = {"base_path": config.get("base_model_name_or_path"), "peft_type": config.get("peft_type")}
    return ours | ({} if header is None else header.to_dict()) | named


def _methods_of(model: PreTrainedModel, name: str) -> tuple[Method, ...]:
    on_it = installed(model)
    if name not in on_it:
        raise Refusal(f"no adapter {name!r} is installed; installed: {', '.join(on_it) or 'none'}")
    return on_it[name]


def _described(
    content: files.Files, header: Header | None, model: PreTrainedModel, where: str, kept: bool
) -> tuple[ModuleType | None, tuple[Method, ...], AddedTokens | None]:
    """The format of the files, None for our own; the methods they describe, and what the base must grow by first."""
    kind, form = content.config.get("peft_type"), format_of(content.config)
    if header is not None:
        check_base(header.base, content.config.get("base_model_name_or_path"), model, where)
        note_format(header.quantization, model, where)
        if not kept:
            _check_labels(header.labels, model, where)
        with about(where):
            added = None if header.added_tokens is None else read(AddedTokens, header.added_tokens, at="added_tokens")
            return form, tuple(read_method(mapping) for mapping in header.methods), added
    if form is None:
        known = ", ".join(sorted({form.PEFT_TYPE for form in formats()}))
        raise Refusal(f"{where}: peft_type = {kind!r}: accorda loads {known} of other tools")
    return form, form.methods(content.config, content.tensors, model, where), None


def _fill(
    model: PreTrainedModel, name: str, form: ModuleType | None, content: files.Files, where: str, kept: bool
) -> None:
    """Check every tensor of the file, then copy all of them onto the model; a head that is kept is in no file.

    A model of shapes alone (a plan's) takes no values, and gives none to compare with.
    """
    live = own_tensors(model, name)
    if live and all(tensor.is_meta for tensor in live.values()):
        return
    if form is None:
        expected = live if kept else live | _heads(model, "")
        check_tensors(expected, content.tensors, where)
        found: Mapping[str, Tensor] = content.tensors
    else:
        heads = {} if kept else _heads(model, head_prefix(form))
        rest = {key: tensor for key, tensor in content.tensors.items() if key not in heads}
        rest = _without_copies_of_base(rest, model, where)
        check_tensors(heads, {key: content.tensors[key] for key in heads if key in content.tensors}, where)
        expected = live | heads
        found = form.decode(model, name, content.config, rest, where) | {key: content.tensors[key] for key in heads}
    with torch.no_grad():
        for key, tensor in expected.items():
            tensor.copy_(found[key])


def _without_copies_of_base(tensors: Mapping[str, Tensor], model: PreTrainedModel, where: str) -> dict[str, Tensor]:
    """The tensors without those of the base itself, which PEFT adds to a file where embedding or head are targets.

    Refuses one with another value: a module trained whole, or a vocabulary that was resized.
    """
    base, kept = base_parameters(model), {}
    for key, tensor in tensors.items():
        path = key.removeprefix(PREFIX).replace(".base_layer.", ".")
        if path not in base:
            kept[key] = tensor
        elif tensor.shape != base[path].shape or not torch.equal(tensor.to(base[path]), base[path]):
            raise Refusal(
                f"{where}: {key} is not the {path} of this model, and no module is trained whole beside an adapter; "
                "merge the adapter into its base with PEFT (merge_and_unload) and open the merged model"
            )
    return kept


def _heads(model: PreTrainedModel, prefix: str) -> dict[str, Tensor]:
    """The tensors of heads that the checkpoint did not bring, by their names in the file."""
    return {
        f"{prefix}{head}.{leaf}": parameter
        for head, module in new_heads(model).items()
        for leaf, parameter in module.named_parameters()
    }


def _labels(model: PreTrainedModel) -> tuple[str, ...] | None:
    """What the model's classification head tells apart; None for another head."""
    return Labels.of(model.config).names if is_classifier(model) else None


def _check_labels(wanted: tuple[str, ...] | None, model: PreTrainedModel, where: str) -> None:
    """Refuse a head that tells other things apart than the one in the file."""
    found = _labels(model)
    if wanted != found:
        theirs, ours = (
            "no labels" if labels is None else f"the labels {Labels(labels).told()}" for labels in (wanted, found)
        )
        raise Refusal(f"{where}: its head has {theirs}, this model's {ours}; load the model with its own labels")


def _task(model: PreTrainedModel) -> str | None:
    return next((task for ending, task in TASKS.items() if type(model).__name__.endswith(ending)), None)


def _stored(tensor: Tensor) -> Tensor:
    return tensor.detach().float() if tensor.is_floating_point() else tensor.detach()
