"""What a stage is: which rows it reads and what it minimises. The rest of a run is the same for all of them."""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal

from transformers import PreTrainedModel

from accorda.errors import Refusal
from accorda.training.loop import Objective


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage of a model's life.

    rows: how the data layer turns rows into tokens ("sft": prompt and completion, "pretrain": blocks of text).
    objective: makes, of a model with its method installed, (model, batch) -> the summed loss in nats.
    """

    rows: Literal["sft", "pretrain"]
    objective: Callable[[PreTrainedModel], Objective]


@cache
def stages() -> dict[str, Stage]:
    """Every stage by the name of its file: the modules of this folder that define `STAGE`."""
    package = importlib.import_module("accorda.stages")
    names = [module.name for module in pkgutil.iter_modules(package.__path__)]
    loaded = {name: importlib.import_module(f"accorda.stages.{name}") for name in names}
    return {name: module.STAGE for name, module in loaded.items() if hasattr(module, "STAGE")}


def find_stage(name: str) -> Stage:
    """The stage of that name.

    Raises:
        Refusal: this version has no such stage.
    """
    if name not in stages():
        raise Refusal(f"stage = {name}: this version has no such stage; choose one of {', '.join(sorted(stages()))}")
    return stages()[name]
