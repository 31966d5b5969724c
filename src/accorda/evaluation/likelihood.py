"""How probable a model finds each row's supervised tokens: sums per row, streamed.

Logits exist for one chunk of positions at a time and are never kept; what remains of a row is two numbers.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from accorda.data.batch import Batch, Segment, pad_batch
from accorda.evaluation.metric import Row
from accorda.generation.progress import tell
from accorda.generation.sample import evaluating
from accorda.training.next_token import next_token_log_probs


@torch.no_grad()
def likelihoods(model: PreTrainedModel, segments: Sequence[Segment], *, batch_size: int = 8) -> list[Row]:
    """The log-likelihood of every segment's supervised tokens and their number, in the order given.

    The model runs without dropout and as its adapters are routed now; its modes are restored.
    """
    rows: list[Row] = [Row()] * len(segments)
    with evaluating(model):
        done = 0
        for places in by_length([len(segment) for segment in segments], batch_size):
            batch = pad_batch([segments[place] for place in places], pad_id=0).to(model.device)
            for place, row in zip(places, _of_batch(model, batch), strict=True):
                rows[place] = row
            done += len(places)
            tell("log-likelihoods", done, len(segments))
    return rows


def by_length(lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Places in groups of `batch_size`, longest first: little padding, and memory is scarcest at once."""
    order = sorted(range(len(lengths)), key=lambda place: -lengths[place])
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def _of_batch(model: PreTrainedModel, batch: Batch) -> list[Row]:
    """Sums per row of a padded batch (B, T)."""
    log_probs_N = next_token_log_probs(model, batch)
    rows_N = batch.targets()[0] // batch.labels.shape[1]
    sums, counts = _per_row(log_probs_N.double(), rows_N, len(batch.rows))
    return [Row(log_likelihood=total, num_tokens=int(count)) for total, count in zip(sums, counts, strict=True)]


def _per_row(values_N: Tensor, rows_N: Tensor, num_rows: int) -> tuple[list[float], list[float]]:
    """Sums of the values and their numbers, by row."""
    zeros = values_N.new_zeros(num_rows)
    sums = zeros.index_add(0, rows_N, values_N)
    return sums.tolist(), zeros.index_add(0, rows_N, torch.ones_like(values_N)).tolist()
