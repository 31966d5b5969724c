"""Compared answers as training and evaluation see them."""

from collections.abc import Sequence

import numpy as np

from accorda.data.dataset import DataReport, Dataset, Part
from accorda.data.example import Example, digest
from accorda.data.preferences.batch import PreferenceSegment
from accorda.data.store import Store


class PreferenceDataset(Dataset):
    """Rows by number, each with all its answers; or, with `thumbs`, every answer by itself."""

    def __init__(self, parts: Sequence[Part], spans: np.ndarray, report: DataReport, thumbs: bool = False):
        super().__init__(parts, spans, report)
        self.thumbs = thumbs
        self._borders = borders_of([answers_at(part.store) for part in parts], spans)
        examples = [super(PreferenceDataset, self).example(row) for row in range(len(spans))]
        self._ranks = [example.ranks for example in examples]
        self.prompts = np.array([prompt_of(example) for example in examples], np.uint64)
        """A digest of what each example row asks, (n,): equal for rows about one prompt."""
        self._margins = [example.margin or 0.0 for example in examples]
        counts = [len(ranks) if thumbs else 1 for ranks in self._ranks]
        self._row = np.repeat(np.arange(len(spans)), counts)
        self._answer = np.concatenate([np.arange(count) for count in counts]) if counts else np.zeros(0, np.int64)
        ends = zip(self._row, self._answer, strict=True)
        sizes = [np.diff(self._borders[row])[answer : answer + 1 if thumbs else None].sum() for row, answer in ends]
        self._sizes = np.array(sizes, np.int64)
        self.encoder_lengths = np.zeros(len(self._row), np.int64)

    def __len__(self) -> int:
        return len(self._row)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens per row, (n,), of all its answers together."""
        return self._sizes

    @property
    def longest(self) -> int:
        """Tokens of the longest answer, prompt included: what `max_length` bounds."""
        return max(int(np.diff(borders).max()) for borders in self._borders)

    def __getitem__(self, index: int) -> PreferenceSegment:
        """Row `index` as ids, with what was thought of its answers."""
        row = int(self._row[index])
        whole, borders, ranks = super().__getitem__(row), self._borders[row], self._ranks[row]
        if self.thumbs:
            answer = int(self._answer[index])
            start, end = borders[answer : answer + 2]
            borders, ranks = (0, int(end - start)), (min(ranks[answer], 1),)
        else:
            start, end = 0, len(whole)
        return PreferenceSegment(
            int(index) % len(self),
            whole.input_ids[start:end],
            whole.supervised[start:end],
            whole.file,
            whole.line,
            borders=tuple(int(border) for border in borders),
            ranks=ranks,
            margin=self._margins[row],
        )

    def known_prompts(self, other: "PreferenceDataset") -> int:
        """How many rows ask what a row of the other data set asks."""
        return int(np.isin(self.prompts, other.prompts)[self._row].sum())

    def example(self, index: int) -> Example:
        """The content of the row that `index` is of, with all its answers."""
        return super().example(int(self._row[index]))

    def answer_of(self, index: int) -> int | None:
        """Which answer of its example row `index` is; None where it is all of them."""
        return int(self._answer[index]) if self.thumbs else None

    def prompt_ids(self, index: int) -> list[int]:
        """The ids in front of every answer of row `index`."""
        segment = self[index]
        return segment.input_ids[: segment.prompt_length].tolist()


def prompt_of(example: Example) -> int:
    """A digest of what a row asks."""
    return digest(example.asked().to_json().encode())


def borders_of(starts: Sequence[np.ndarray], spans: np.ndarray) -> list[np.ndarray]:
    """Of each row 0, the ends of its answers, and so its length: an answer ends where what is learned ends.

    `starts`: where the answers of every store begin (`answers_at`).
    """
    found = []
    for span in spans:
        mine = starts[span["part"]]
        low, high = np.searchsorted(mine, (span["start"], span["end"]))
        found.append(np.append(mine[low:high], span["end"]) - span["start"])
    return found


def answers_at(store: Store) -> np.ndarray:
    """Where the answers of a store begin, prompts included: at a token that is read only behind one that is learned."""
    learned = np.asarray(store.supervised)
    if not len(learned):
        return np.zeros(0, np.int64)
    return np.flatnonzero(~learned & np.concatenate([[True], learned[:-1]]))
