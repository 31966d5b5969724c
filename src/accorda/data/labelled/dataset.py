"""Labelled rows as training and evaluation see them."""

from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from hashlib import sha256
from typing import Any

import numpy as np

from accorda.data.batch import Segment
from accorda.data.dataset import DataReport, Dataset, Part
from accorda.data.labelled.batch import LabelledSegment
from accorda.data.labelled.cut import shortened
from accorda.data.labelled.found import name_of, value_of
from accorda.data.labelled.renderer import LabelledRenderer
from accorda.errors import Refusal


class LabelledDataset(Dataset):
    """Rows by number, cut to `max_length`, each with the number of its class or with its number.

    Raises:
        Refusal: a row with a class that the head does not know, or with text where a number is learned.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        spans: np.ndarray,
        report: DataReport,
        renderer: LabelledRenderer,
        max_length: int,
    ):
        self.renderer, self.max_length = renderer, max_length
        super().__init__(parts, spans, report)
        numbers = {name: number for number, name in enumerate(renderer.labels.names)}
        self.values = np.array([self._value(row, numbers) for row in range(len(spans))], np.float64)

    def __getitem__(self, index: int) -> LabelledSegment:
        """Row `index` as ids and label."""
        whole = super().__getitem__(index)
        span = self.spans[index]
        second = int(self.parts[span["part"]].store.rows["prompt"][span["row"]])
        return cut(whole, second, float(self.values[index]), self.renderer, self.max_length)

    @cached_property
    def hash(self) -> str:
        """SHA-256 of every row's tokens and labels, and of how long a row may be."""
        return f"{super().hash[:48]}-{hash_of(self.values, self.max_length)}"

    def _sizes_of(self, spans: np.ndarray) -> np.ndarray:
        """Tokens of each row after cutting, (n,)."""
        return np.minimum(super()._sizes_of(spans), self.max_length)

    def _value(self, row: int, numbers: dict[str, int]) -> float:
        example = self.example(row)
        place = f"{example.file}:{example.line}"
        labels = self.renderer.labels
        if labels.is_number:
            value = value_of(example.label)
            if value is None:
                raise Refusal(f"{place}: the label {example.label!r} is no number, and a number is learned here")
            return value
        number = numbers.get(name_of(example.label))
        if number is None:
            raise Refusal(f"{place}: the label {name_of(example.label)!r} is none of those learned: {labels.told()}")
        return number


def cut(whole: Segment, second: int, label: float, renderer: LabelledRenderer, max_length: int) -> LabelledSegment:
    """A row cut to `max_length`; `second` is where its second text begins, its length where there is none."""
    numbers = shortened(np.arange(len(whole)), second, renderer.frame, max_length)
    return LabelledSegment(
        whole.index,
        whole.input_ids[numbers],
        whole.supervised[numbers],
        whole.file,
        whole.line,
        label=label,
        second=int(np.count_nonzero(numbers < second)),
        types=renderer.has_types,
    )


def hash_of(values: np.ndarray, max_length: int) -> str:
    """A short hash of labels and length."""
    return sha256(values.tobytes() + max_length.to_bytes(8, "little")).hexdigest()[:16]


def counted(dataset: LabelledDataset) -> dict[str, Any]:
    """How often each class occurs, or the least, mean and most of a number."""
    labels, values = dataset.renderer.labels, dataset.values
    if labels.is_number:
        return {"least": float(values.min()), "mean": float(values.mean()), "most": float(values.max())}
    found = Counter(values.astype(int).tolist())
    return {name: found[number] for number, name in enumerate(labels.names)}
