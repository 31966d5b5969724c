"""The fields of PEFT's adapter_config.json: what we write into it, and a refusal for each we cannot honour."""

from collections.abc import Collection, Mapping
from typing import Any

from accorda.errors import Refusal

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


def refuse_fields(config: Mapping[str, Any], read: Collection[str], where: str) -> None:
    """Refuse a field that is set and that neither `read` nor the list of fields without effect names."""
    for name, value in config.items():
        if name not in {*read, *WITHOUT_EFFECT, *TENSORS_TELL} and value not in (None, False, "", [], {}):
            raise Refusal(
                f"{where}: {name} = {value!r} is nothing accorda can load; merge the adapter into its base with PEFT "
                "(merge_and_unload) and open the merged model"
            )
