"""What the proofs of the mask share, whatever rows are about: which are read again, and what is said of batches."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from accorda.data.batch import Batch, Segment
from accorda.data.prompts.dataset import PromptDataset, as_text
from accorda.proofs.contract import Check, check, names


def evenly(number: int, most: int) -> list[int]:
    """At most so many of the rows 0 to `number` - 1, spread over all of them."""
    return sorted(set(np.linspace(0, number - 1, min(number, most)).astype(int).tolist()))


def carried(micro_batches: Sequence[Batch], right: Callable[[Batch], bool], labels: str) -> Check:
    """Whether every micro-batch of the first step is right; `labels` names what reaches the loss beside the rows."""
    wrong = [str(batch.rows) for batch in micro_batches if not right(batch)]
    number = sum(len(batch.rows) for batch in micro_batches)
    return check("batches", not wrong, f"the first step's {number} rows reach the loss with {labels}", names(wrong, 2))


def readable(dataset: Sequence[Segment] | Any, rows: Iterable[int]) -> list[Segment]:
    """Rows with tokens to predict; of prompts, of which nothing is learned, all of their own."""
    found = [dataset[int(row)] for row in rows]
    return [as_text(segment) for segment in found] if isinstance(dataset, PromptDataset) else found
