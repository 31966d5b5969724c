"""The number formats by name, without importing torch, and what is said of a name or a method that does not go."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from accorda.errors import Refusal
from accorda.recipe.named import defining
from accorda.recipe.words import choice, shown

DENSE = "none"


@cache
def number_formats() -> tuple[str, ...]:
    """The number formats there are, by the files that define one."""
    return tuple(defining(Path(__file__).parents[1] / "quantization", "FORMAT"))


def require_format(name: str, setting: str = "model.quantization", others: Sequence[str] = ()) -> None:
    """Refuse what is no number format and none of the `others`."""
    known = (*others, *number_formats())
    if name not in known:
        raise Refusal(f"{setting} = {shown(name)}: no such number format{choice(name, known)}")


def require_dense(method: str, number_format: str) -> None:
    """Refuse a method that trains weights which a number format freezes."""
    if number_format != DENSE:
        raise Refusal(
            f"{method}: trains the base's own weights, which model.quantization = {number_format} freezes; leave that "
            "out, or train an adapter: method.name=lora"
        )
