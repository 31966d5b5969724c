"""What the training rows say the head has to tell apart: read before the model is loaded, since its head depends on it.

Text and whole numbers are classes; where a label has a point (0.5, or "0.5" in a file that knows text only) and all are
numbers, a number is learned. `algorithm.labels` says so where that is not what is meant.
"""

import math
from collections import Counter
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

from accorda.data.example import BadRow, Example, RowError
from accorda.data.labelled.columns import Columns, choose
from accorda.data.sources import Origin, no_rows, origins
from accorda.errors import Refusal
from accorda.models.labels import Labels, ordered
from accorda.recipe.sections import DataSection
from accorda.recipe.words import shown

Kind = Literal["auto", "classes", "numbers"]
NOT_FINITE = ("inf", "infinity", "nan")


@dataclass
class Tally:
    """Labels seen so far, and the first row that cannot be read."""

    seen: int
    labels: Counter[str | float]
    bad: BadRow | None = None


def found_labels(section: DataSection, kind: Kind = "auto") -> Labels:
    """The classes of all rows of `data.train` (those held out of it included) in their order, or a number.

    Raises:
        Refusal: no row that can be read; one class only; a class for every row; labels that are no numbers where
            numbers are asked for.
    """
    tally = Tally(0, Counter())
    listed = origins(section, "train")
    for origin in listed:
        _count(origin, tally, section.limit)
    if listed and not tally.seen:
        raise no_rows(listed, "data.train")
    if not tally.labels:
        raise Refusal(str(tally.bad) if tally.bad else "data.train: no rows with a label")
    if kind == "numbers" or (kind == "auto" and has_point(tally.labels)):
        return _number(tally)
    return _classes(tally)


def value_of(label: Any) -> float | None:
    """The number that a label is; None for text, and where it is not finite."""
    try:
        number = float(label)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def name_of(label: Any) -> str:
    """The class that a label names."""
    return f"{label:g}" if isinstance(label, float) else str(label)


def has_point(labels: Any) -> bool:
    """Whether all labels are numbers and some of them are not whole; inf and nan alone make none a number."""
    known = [label for label in labels if value_of(label) is not None]
    if any(str(label).lower().lstrip("+-") not in NOT_FINITE for label in labels if value_of(label) is None):
        return False
    return any(isinstance(label, float) or not label.lstrip("+-").isdigit() for label in known)


def _count(origin: Origin, tally: Tally, limit: int | None) -> None:
    columns: Columns | None = None
    for file, line, row in islice(origin.read(), None if limit is None else max(0, limit - tally.seen)):
        tally.seen += 1
        if not isinstance(row, BadRow) and columns is None:
            columns = choose(row, f"{file}:{line}", name=origin.format, columns=origin.columns)
        example = _parsed(file, line, row, columns)
        if isinstance(example, BadRow):
            tally.bad = tally.bad or example
        elif example.label is not None:
            tally.labels[example.label] += 1


def _parsed(file: str, line: int, row: Any, columns: Columns | None) -> Example | BadRow:
    if isinstance(row, BadRow) or columns is None:
        return row
    try:
        return columns.parse(row)
    except RowError as error:
        return BadRow(file, line, str(error))


def _number(tally: Tally) -> Labels:
    words = [label for label in tally.labels if value_of(label) is None]
    if words:
        label = shown(words[0])
        raise Refusal(f"algorithm.labels = numbers: the label {label} of data.train is none; mend it, or say classes")
    return Labels()


def _classes(tally: Tally) -> Labels:
    names = ordered(name_of(label) for label in tally.labels)
    if len(names) == 1:
        raise Refusal(f"data.train: every row is labelled {names[0]!r}; there is nothing to tell apart")
    if len(names) == tally.labels.total() > 2:
        raise Refusal(
            f"data.train: each of {len(names)} rows has a label of its own ({Labels(tuple(names)).told(2)}); "
            "map the right column with --column label=COLUMN, or say algorithm.labels=numbers"
        )
    return Labels(tuple(names))
