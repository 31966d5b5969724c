"""What the proofs of the mask share, whatever rows are about: which are read again, and what is said of batches."""

from collections.abc import Callable, Sequence

import numpy as np

from accorda.data.batch import Batch
from accorda.proofs.contract import Check, check, names


def evenly(number: int, most: int) -> list[int]:
    """At most so many of the rows 0 to `number` - 1, spread over all of them."""
    return sorted(set(np.linspace(0, number - 1, min(number, most)).astype(int).tolist()))


def carried(micro_batches: Sequence[Batch], right: Callable[[Batch], bool], labels: str) -> Check:
    """Whether every micro-batch of the first step is right; `labels` names what reaches the loss beside the rows."""
    wrong = [str(batch.rows) for batch in micro_batches if not right(batch)]
    number = sum(len(batch.rows) for batch in micro_batches)
    return check("batches", not wrong, f"the first step's {number} rows reach the loss with {labels}", names(wrong, 2))
