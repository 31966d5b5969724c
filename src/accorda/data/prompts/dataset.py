"""Prompts as a run of stage rl sees them."""

from dataclasses import replace

import numpy as np

from accorda.data.batch import Segment
from accorda.data.dataset import Dataset


class PromptDataset(Dataset):
    """Prompts by number; nothing of them is learned."""

    def prompt_ids(self, index: int) -> list[int]:
        return self[index].input_ids.tolist()


def as_text(segment: Segment) -> Segment:
    """The row as if it were a text to learn: for proofs about passes over it."""
    learned = np.arange(len(segment)) > 0
    return replace(segment, supervised=learned)
