"""PEFT's formats of adapter files, one file each, found by walking this folder.

A file defines `PEFT_TYPE`, the `peft_type` it reads and writes, and

    fits(methods, model, name) -> bool                          whether an installed adapter can be written so
    config(methods, model, name) -> dict                        the config's own fields
    encode(model, name) -> {key: tensor}                        the tensors of the file
    decode(model, name, config, tensors, where) -> {key: tensor}    those of the installed adapter, from the file's
    methods(config, tensors, model, where) -> (Method, ...)     what a file by PEFT describes

and, where it differs from the rule: `reads(config) -> bool` if files share a `PEFT_TYPE`, `HEAD_PREFIX` before the
names of new heads.
"""

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from functools import cache
from types import ModuleType
from typing import Any

from transformers import PreTrainedModel

from accorda.methods.contract import Method
from accorda.methods.storage.peft_config import PREFIX


@cache
def formats() -> tuple[ModuleType, ...]:
    """Every format."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return tuple(importlib.import_module(f"{__name__}.{name}") for name in names)


def format_for(methods: Sequence[Method], model: PreTrainedModel, name: str) -> ModuleType | None:
    """The format in which PEFT would compute what an installed adapter computes."""
    return next((form for form in formats() if form.fits(methods, model, name)), None)


def format_of(config: Mapping[str, Any]) -> ModuleType | None:
    """The format of an adapter_config.json."""
    same = (form for form in formats() if config.get("peft_type") == form.PEFT_TYPE)
    return next((form for form in same if not hasattr(form, "reads") or form.reads(config)), None)


def head_prefix(form: ModuleType) -> str:
    """What stands before the names of new heads; PEFT hangs adapters of modules one level deeper than prompts."""
    return getattr(form, "HEAD_PREFIX", PREFIX)
