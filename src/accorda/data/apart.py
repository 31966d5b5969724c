"""One set of held-out rows for several runs: rows are divided once and written to files that all of them read."""

import json
from itertools import islice
from typing import Any

import numpy as np

from accorda.data.example import BadRow, digest
from accorda.data.sources import Origin, origins
from accorda.data.split import held_out
from accorda.errors import Refusal
from accorda.recipe.reader import plain
from accorda.recipe.sections import DataSection, Split

Rows = list[dict[str, Any]]


def rows_of(section: DataSection, split: Split, limit: int | None = None) -> Rows:
    """The rows that `data.train` or `data.eval` names, as they were read, at most the first `limit`.

    Raises:
        Refusal: a row that cannot be read, unless `data.on_bad_row` is skip.
    """
    found: Rows = []
    for origin in origins(section, split):
        for _, _, row in islice(origin.read(), None if limit is None else limit - len(found)):
            if not isinstance(row, BadRow):
                found.append(row)
            elif section.on_bad_row == "error":
                raise Refusal(f"{row}; mend the data or say data.on_bad_row=skip")
    return found


def divided(section: DataSection, seed: int, most: int | None) -> tuple[Rows, Rows]:
    """The rows to train on and those held out, by `data.eval_split`; `most`: so many to train on are enough.

    The rows are drawn by their content and `seed`.

    Raises:
        Refusal: rows of several sources with weights or columns of their own, which one file cannot hold.
    """
    if len({shape(origin) for origin in origins(section, "train")}) > 1:
        raise Refusal(
            "data.train: several sources with weights or columns of their own; runs that differ in their data need "
            "the same held-out rows: name them with --eval-data"
        )
    enough = None if most is None else int(np.ceil(most / (1 - section.eval_split)))
    rows = rows_of(section, "train", enough)
    digests = np.array([digest(json.dumps(plain(row), sort_keys=True).encode()) for row in rows], np.uint64)
    apart = held_out(digests, section.eval_split, seed)
    return (
        [row for row, out in zip(rows, apart, strict=True) if not out],
        [row for row, out in zip(rows, apart, strict=True) if out],
    )


def shape(origin: Origin) -> tuple[float, str, tuple[tuple[str, str], ...]]:
    """What one file of rows must have in common."""
    return origin.weight, origin.format, tuple(origin.columns.items())


def as_lines(rows: Rows) -> str:
    """The rows as a jsonl file's text."""
    return "".join(json.dumps(plain(row), ensure_ascii=False) + "\n" for row in rows)
