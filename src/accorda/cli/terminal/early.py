"""What is wrong with a request whatever the model: told before torch is imported, which takes seconds."""

from pathlib import Path
from typing import Any

from accorda.recipe.named import require_known
from accorda.recipe.number_formats import DENSE, require_dense, require_format


def check_early(recipe: Any) -> None:
    """Refuse a recipe for its names, places and files, as the run would.

    Raises:
        Refusal: an unknown number format or method, a method that needs a dense base, rows that are not there, an
            output folder in use.
    """
    from accorda.runs.layout import RunFolder

    require_format(recipe.model.quantization, others=(DENSE,))
    check_method(recipe)
    check_rows(recipe.data)
    if recipe.output is not None:
        RunFolder(Path(recipe.output)).refuse_unless_free()


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
