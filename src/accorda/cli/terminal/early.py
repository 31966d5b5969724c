"""What is wrong with a request whatever the model: told before torch is imported, which takes seconds."""

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from accorda.errors import Refusal
from accorda.methods.named import require_name
from accorda.recipe.named import require_known
from accorda.recipe.number_formats import DENSE, require_dense, require_format


def check_early(recipe: Any) -> None:
    """Refuse a recipe for its names, places and files, as the run would.

    Raises:
        Refusal: an unknown number format or method, a method that needs a dense base, rows that are not there, an
            output folder in use or that cannot be written to.
    """
    from accorda.runs.layout import RunFolder, default_output

    require_format(recipe.model.quantization, others=(DENSE,))
    check_method(recipe)
    if recipe.model.config is None and recipe.model.path is not None:
        require_name(recipe.model.path)
    check_rows(recipe.data, recipe.stage)
    place = recipe.output or default_output(recipe.stage, str(recipe.method.get("name")))
    RunFolder(Path(place)).refuse_unless_free()


def check_sweep(values: Mapping[str, Any]) -> None:
    """Refuse a sweep whose folder cannot be written to; one that was begun there goes on."""
    from accorda.runs.place import require_writable

    if isinstance(values.get("output"), str):
        require_writable(values["output"], "output =")


def check_rows(section: Any, stage: str | None = None) -> None:
    """Refuse rows that are not there, and those whose columns no format of the stage fits."""
    from accorda.data.first_rows import check_first_rows

    for split in ("train", "eval"):
        check_first_rows(section, split, stage)


def check_eval(arguments: argparse.Namespace, named: Mapping[str, str]) -> None:
    """Refuse what `eval` is asked for by its names alone: metrics, model, rows.

    Columns are looked at where a run says how its rows are read; of other folders the header tells later.
    """
    from accorda.data.first_rows import check_first_rows
    from accorda.evaluation.registry import read_metrics

    if arguments.metrics:
        read_metrics(arguments.metrics)
    require_name(arguments.run)
    section, stage = of_run(arguments.run)
    for data in filter(None, (arguments.data, arguments.train)):
        asked = replace(section, eval=data, columns=dict(named or section.columns))
        try:
            check_first_rows(asked, "eval", stage)
        except Refusal as refusal:
            if data != arguments.train:
                raise
            raise Refusal(f"--train: {str(refusal).removeprefix('data.eval: ')}") from None


def of_run(name: str) -> tuple[Any, str | None]:
    """A run's data section, and its stage where that alone says how rows are read.

    Runs on compared answers and on prompts may be measured on rows of texts.
    """
    from accorda.recipe.load import load
    from accorda.recipe.sections import DataSection
    from accorda.runs.layout import RunFolder

    run = RunFolder(Path(name).expanduser())
    if not run.is_complete():
        return DataSection(), None
    recipe = load(run.recipe)
    return recipe.data, recipe.stage if recipe.stage in ("sft", "pretrain", "classify") else None


def check_verify(arguments: argparse.Namespace) -> None:
    """Refuse what `verify` is asked for by its names alone."""
    from accorda.data.first_rows import check_first_rows
    from accorda.recipe.sections import DataSection
    from accorda.runs.layout import RunFolder
    from accorda.runs.verifiable import require_own, require_verifiable

    require_verifiable(arguments.run)
    run = RunFolder(arguments.run)
    if run.is_run():
        require_own(run, arguments.base, arguments.data)
    if arguments.data is not None:
        check_first_rows(DataSection(eval=arguments.data), "eval", None)


def check_method(recipe: Any) -> None:
    """Refuse an unknown method, and one that trains weights which the number format freezes."""
    from accorda.methods.outline import methods

    names = recipe.method.get("name")
    for name in [part.strip() for part in names.split("+")] if isinstance(names, str) else []:
        found = methods()[require_known(name, methods(), "method", at="method", origins=recipe.origins)]
        if not found.traits.get("quantized_base", True):
            require_dense(f"method.name = {name}", recipe.model.quantization)
