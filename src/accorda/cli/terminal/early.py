"""What is wrong with a request whatever the model: told before torch is imported, which takes seconds."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import accorda
from accorda.recipe.named import defining, require_known
from accorda.recipe.number_formats import DENSE, require_dense, require_format


@cache
def stages() -> tuple[str, ...]:
    """The stages there are, by the files that define one."""
    return tuple(defining(Path(accorda.__file__).parent / "stages", "STAGE"))


def check_early(recipe: Any) -> None:
    """Refuse a recipe for its names, places and files, as the run would.

    Raises:
        Refusal: an unknown number format or method, a method that needs a dense base, rows that are not there, an
            output folder in use or that cannot be written to.
    """
    from accorda.runs.layout import RunFolder, default_output

    require_format(recipe.model.quantization, others=(DENSE,))
    check_method(recipe)
    check_rows(recipe.data)
    place = recipe.output or default_output(recipe.stage, str(recipe.method.get("name")))
    RunFolder(Path(place)).refuse_unless_free()


def check_sweep(values: Mapping[str, Any]) -> None:
    """Refuse a sweep whose folder cannot be written to; one that was begun there goes on."""
    from accorda.runs.place import require_writable

    if isinstance(values.get("output"), str):
        require_writable(values["output"], "output =")


def check_rows(section: Any) -> None:
    """Refuse rows that are not there; a data set of the hub is asked for later."""
    from accorda.data.sources import HUB, origins

    for split in ("train", "eval"):
        if not any(source.path.startswith(HUB) for source in section.sources(split)):
            origins(section, split)


def check_method(recipe: Any) -> None:
    """Refuse an unknown method, and one that trains weights which the number format freezes."""
    from accorda.methods.outline import methods

    names = recipe.method.get("name")
    for name in [part.strip() for part in names.split("+")] if isinstance(names, str) else []:
        found = methods()[require_known(name, methods(), "method", at="method", origins=recipe.origins)]
        if not found.traits.get("quantized_base", True):
            require_dense(f"method.name = {name}", recipe.model.quantization)
