"""What a metric is: numbers per row that add up, and values computed from their sums.

Everything a metric reports is a function of sums over rows. That makes it cheap to stream (nothing but the sums and
one short tuple per row is kept) and gives every metric the same bootstrap: resample rows, add, compute again.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

Direction = Literal["higher", "lower"]
Needs = Literal["likelihood", "generations", "classes", "numbers", "preferences"]


@dataclass(frozen=True)
class Row:
    """One evaluated row. Only the part that the metric `needs` is filled in."""

    completion: str = ""
    references: tuple[str, ...] = ()
    log_likelihood: float = 0.0
    """Log-probability of the row's supervised tokens, or class, in nats; of a number minus its squared error."""
    num_tokens: int = 0
    """Number of supervised tokens; 1 for a row with a label."""
    label: int = 0
    """The number of the row's class, and of the one it was called by."""
    predicted: int = 0
    num_classes: int = 1
    number: float = 0.0
    """The row's number, and the one predicted."""
    predicted_number: float = 0.0
    num_pairs: int = 1
    """Strict pairs of a row of compared answers; 1 for an answer that was liked or not."""
    num_right: float = 0.0
    """In how many of them the better answer has the higher reward; equal ones count half."""
    margin: float = 0.0
    """By how much, summed over the pairs."""


class Metric(ABC):
    """A metric: a frozen dataclass whose fields are its options."""

    needs: ClassVar[Needs]
    direction: ClassVar[Direction]
    share: ClassVar[bool] = False
    """Whether it is the share of rows, or of their pairs, that have something: 1 says that all have it."""

    @abstractmethod
    def statistics(self, row: Row) -> Sequence[float]:
        """Numbers of one row that add up over rows; always the same length."""

    @abstractmethod
    def values(self, totals: np.ndarray) -> dict[str, float]:
        """The reported numbers by name, from `statistics` summed over rows."""

    def notes(self, rows: Sequence[Row]) -> dict[str, str]:
        """What a reader needs in order to compare these numbers with others', such as a signature."""
        return {}
