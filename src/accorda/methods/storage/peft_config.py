"""The fields of PEFT's adapter_config.json: what we write into it, and a refusal for each we cannot honour."""

from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from accorda.errors import Refusal
from accorda.methods.storage.strict import about
from accorda.recipe.reader import read, settings

T = TypeVar("T")

PREFIX = "base_model.model."  # before every name of a tensor that belongs to a module
ABOUT = {"peft_type", "task_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision"}
WITHOUT_EFFECT = ABOUT | {"inference_mode", "runtime_config"}
TENSORS_TELL = {"modules_to_save"}  # refused, or read as heads, by the tensors there are


def common(peft_type: str, task_type: str | None, base: str | None) -> dict[str, Any]:
    """The fields that every PEFT config has."""
    return {
        "peft_type": peft_type,
        "task_type": task_type,
        "base_model_name_or_path": base,
        "inference_mode": True,
        "revision": None,
    }


def read_fields(cls: type[T], config: Mapping[str, Any], unused: Collection[str], where: str) -> T:
    """The fields of `cls` from a config, strictly; null is the field's default.

    Raises:
        Refusal: a wrong type or value; a field that is set and that neither `cls` knows nor `unused` names.
    """
    names = {field.name for field in settings(cls)}
    for name, value in config.items():
        known = {*names, *unused, *WITHOUT_EFFECT, *TENSORS_TELL}
        if name not in known and value not in (None, False, "", [], {}):
            raise Refusal(
                f"{where}: {name} = {value!r} is nothing accorda can load; merge the adapter into its base with PEFT "
                "(merge_and_unload) and open the merged model"
            )
    with about(where):
        return read(cls, {name: config[name] for name in names if config.get(name) is not None})


def short(value: float) -> int | float:
    """A whole number without its point, as servers expect of alpha."""
    return int(value) if value == int(value) else value
