"""Which base an adapter belongs to."""

import logging
from collections.abc import Mapping
from typing import Any

from transformers import PreTrainedModel

from accorda.errors import Refusal
from accorda.models.fingerprint import shape_of_base
from accorda.quantization import QuantizedLinear

logger = logging.getLogger(__name__)


def fingerprint_of(model: PreTrainedModel) -> dict[str, Any]:
    """What `load_model` noted of the base's files; of a model loaded otherwise only its type and size."""
    noted = getattr(model, "accorda_fingerprint", None)
    return shape_of_base(model) if noted is None else dict(noted)


def number_format(model: PreTrainedModel) -> str:
    """The number format of the model's linear layers, "none" for dense ones: the file that defines their class."""
    held = (module for module in model.modules() if isinstance(module, QuantizedLinear))
    first = next(held, None)
    return "none" if first is None else type(first).__module__.rpartition(".")[2]


def note_format(trained_on: str, model: PreTrainedModel, where: str) -> None:
    """Say so where an adapter meets its base in another number format than the one it was trained on."""
    here = number_format(model)
    if trained_on != here:
        logger.warning(
            "%s: trained on the base in quantization %s, loaded on quantization %s: answers differ by its rounding",
            where,
            trained_on,
            here,
        )


def is_of(wanted: Mapping[str, Any], model: PreTrainedModel) -> bool:
    """Whether a fingerprint is the model's in everything that both tell."""
    found = fingerprint_of(model)
    return all(found[key] == value for key, value in wanted.items() if key in found)


def check_base(wanted: Mapping[str, Any], named: str | None, model: PreTrainedModel, where: str) -> None:
    """Refuse a base whose fingerprint differs from the wanted one in anything that both tell."""
    if not is_of(wanted, model):
        raise Refusal(
            f"{where}: trained on another base, {named or 'one without a name'} ({_short(wanted)}); "
            f"this model is {model.name_or_path or 'one without a name'} ({_short(fingerprint_of(model))})"
        )


def _short(fingerprint: Mapping[str, Any]) -> str:
    return ", ".join(str(value)[:12] for value in fingerprint.values())
