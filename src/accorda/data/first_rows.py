"""The first row of every file, looked at before there is a model or a tokenizer: what is wrong with it is told at once.

A run reads the same rows again, all of them; what is wrong further down is found then.
"""

from collections.abc import Callable
from itertools import islice
from typing import Any

from accorda.data.example import BadRow
from accorda.data.formats import registry
from accorda.data.labelled import columns as labelled
from accorda.data.preferences import columns as compared
from accorda.data.prompts import columns as prompts
from accorda.data.sources import HUB, Origin, no_rows, origins

Choose = Callable[..., Any]
CHOOSE: dict[str, Choose] = {
    "sft": registry.choose,
    "pretrain": registry.choose,
    "classify": labelled.choose,
    "reward": compared.choose,
    "preference": compared.choose,
    "rl": prompts.choose,
}
LOOKED_AT = 20
"""Rows that cannot be read before one that can."""


def check_first_rows(section: Any, split: str, stage: str | None) -> None:
    """Refuse files that are not there, sources without a row, and columns that no format of the stage fits.

    A data set of the hub is asked for later. `stage`: None where it is not known; the columns are then not looked at.

    Raises:
        Refusal: in the words of a run.
    """
    if any(source.path.startswith(HUB) for source in section.sources(split)):
        return
    listed, choose = origins(section, split), None if stage is None else CHOOSE.get(stage)
    if listed and not any([_has_rows(origin, choose) for origin in listed]):  # every source is looked at
        raise no_rows(listed, f"data.{split}")


def _has_rows(origin: Origin, choose: Choose | None) -> bool:
    """Whether there is a row, which fits a format."""
    seen = False
    for _, line, row in islice(origin.read(), LOOKED_AT):
        seen = True
        if choose is not None and not isinstance(row, BadRow):
            choose(row, f"{origin.shown}:{line}", name=origin.format, columns=origin.columns)
            break
    return seen
