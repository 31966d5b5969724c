"""What is wrong with a request whatever the model: told before torch is imported, which takes seconds."""

from functools import cache
from pathlib import Path
from typing import Any

import accorda
from accorda.errors import Refusal
from accorda.recipe.named import defining, require_known
from accorda.recipe.words import choice, shown


@cache
def number_formats() -> tuple[str, ...]:
    """The number formats there are, by the files that define one."""
    return tuple(defining(Path(accorda.__file__).parent / "quantization", "FORMAT"))


@cache
def stages() -> tuple[str, ...]:
    """The stages there are, by the files that define one."""
    return tuple(defining(Path(accorda.__file__).parent / "stages", "STAGE"))


def check_format(name: str, setting: str, others: tuple[str, ...] = ()) -> None:
    """Refuse what is no number format and none of the `others`."""
    known = (*others, *number_formats())
    if name not in known:
        raise Refusal(f"{setting} = {shown(name)}: no such number format{choice(name, known)}")


def check_early(recipe: Any) -> None:
    """Refuse a recipe for its names, places and files, as the run would.

    Raises:
        Refusal: an unknown number format or method, a method that needs a dense base, rows that are not there, an
            output folder in use.
    """
    from accorda.data.sources import HUB, origins
    from accorda.runs.layout import RunFolder

    check_format(recipe.model.quantization, "model.quantization", ("none",))
    check_method(recipe)
    for split in ("train", "eval"):
        if not any(source.path.startswith(HUB) for source in recipe.data.sources(split)):
            origins(recipe.data, split)
    if recipe.output is not None:
        RunFolder(Path(recipe.output)).refuse_unless_free()


def check_method(recipe: Any) -> None:
    """Refuse an unknown method, and one that trains weights which the number format freezes."""
    from accorda.methods.outline import methods

    names = recipe.method.get("name")
    for name in [part.strip() for part in names.split("+")] if isinstance(names, str) else []:
        found = methods()[require_known(name, methods(), "method", at="method", origins=recipe.origins)]
        if recipe.model.quantization != "none" and not found.traits.get("quantized_base", True):
            raise Refusal(
                f"method.name = {name}: trains the base's own weights, which model.quantization = "
                f"{recipe.model.quantization} freezes; leave that out, or train an adapter: method.name=lora"
            )
