"""The rows of a phase in a checkpoint: later updates of the same phase learn from the same answers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from accorda.data.prompts.experience import Sample
from accorda.training.checkpoint import State

ROWS = "rows"


def keep_rows(state: State, rows: Sequence[Any]) -> None:
    """Put the rows, and what is told of their tokens, into the state of a loop."""
    state.values[ROWS] = [[row.index, row.num_sampled] for row in rows]
    for number, row in enumerate(rows):
        state.tensors[f"{number}.ids"] = torch.from_numpy(row.input_ids.astype(np.int64))
        state.tensors |= {f"{number}.{name}": value.contiguous() for name, value in row.told.items()}


def kept_rows(state: State, dataset: Any) -> list[Any]:
    """The rows that a state holds, of these prompts."""
    kept = enumerate(state.values[ROWS])
    return [kept_row(state, dataset, number, index, sampled) for number, (index, sampled) in kept]


def kept_row(state: State, dataset: Any, number: int, index: int, sampled: int) -> Sample:
    """The row of that number."""
    ids = state.tensors[f"{number}.ids"].numpy().astype(np.int32)
    prompt, start = dataset[index], f"{number}."
    told = {
        key.removeprefix(start): value.clone()
        for key, value in state.tensors.items()
        if key.startswith(start) and key != f"{start}ids"
    }
    learned = np.arange(len(ids)) >= len(ids) - sampled
    return Sample(index, ids, learned, prompt.file, prompt.line, told=told)
