"""Another head over the backbone of a model that is already there: a second role on one resident base.

The shell is a model of transformers with a classification head whose backbone is the other's own module. Both share one
routing, so `use` on either says which adapters act in both; whatever number format the base is in, it is held once.
"""

import copy
from pathlib import Path
from typing import cast

import torch
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from accorda.errors import Refusal
from accorda.methods.registry import read
from accorda.methods.routing import KEY, routing, use
from accorda.methods.storage import load_adapter, read_header
from accorda.methods.storage.base import fingerprint_of, is_of
from accorda.models.labels import Labels


def fits(model: PreTrainedModel, folder: Path) -> bool:
    """Whether an adapter with a head can act on this base beside others: it is of this base, and hangs on modules.

    Of a model of shapes alone only type and size tell that.
    """
    header = read_header(folder)
    if header["labels"] is None or header["added_tokens"] is not None or not header["methods"]:
        return False
    kinds = {read(method).kind for method in header["methods"]}
    return kinds == {"module"} and is_of(header["base"], model)


def under_head(model: PreTrainedModel, folder: Path, name: str) -> PreTrainedModel:
    """The model's backbone under the head that an adapter was saved with, the adapter put beside those it carries.

    The adapter does not act before `use(model, name)` says so; nothing of it or of its head trains.

    Raises:
        Refusal: as `load_adapter`; the adapter brings no head.
    """
    labels = read_header(folder)["labels"]
    if labels is None:
        raise Refusal(f"{folder}: brings no head; a reward model is the run of stage reward")
    config = copy.deepcopy(model.config)
    Labels(tuple(labels)).put(config)
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        made = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
    shell = cast(PreTrainedModel, made)
    setattr(shell, shell.base_model_prefix, model.base_model)
    heads = [child for child, module in shell.named_children() if module is not model.base_model]
    for head in heads:
        shell.get_submodule(head).to_empty(device=model.device).requires_grad_(False)
    shell.__dict__["accorda_new_heads"] = tuple(head for head in heads if list(shell.get_submodule(head).parameters()))
    shell.__dict__["accorda_fingerprint"] = fingerprint_of(model)
    shell.__dict__[KEY] = routing(model)
    with use(model, None):
        load_adapter(shell, folder, name)
    return shell
