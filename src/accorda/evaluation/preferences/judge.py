"""Held-out comparisons judged by an objective: the loss, the rewards, and who is right."""

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from accorda.data.preferences.batch import PreferenceBatch, PreferenceSegment, preference_batch
from accorda.data.preferences.dataset import PreferenceDataset
from accorda.evaluation.likelihood import by_length
from accorda.evaluation.metric import Row
from accorda.generation.progress import tell
from accorda.generation.sample import evaluating
from accorda.training.comparing import Comparing


@torch.no_grad()
def judged(
    model: PreTrainedModel, objective: Comparing, segments: Sequence[PreferenceSegment], *, batch_size: int = 8
) -> list[tuple[float, list[float]]]:
    """Of each row its loss and the rewards of its answers, in the order given.

    The model runs as its adapters are routed now; its modes are restored.
    """
    places = list(by_length([len(segment) for segment in segments], batch_size))
    found: list[tuple[float, list[float]]] = [(0.0, [])] * len(segments)
    with evaluating(model):
        batches = [_batch(model, [segments[place] for place in group]) for group in places]
        objective.begin(model, batches)
        done = 0
        for group, batch in zip(places, batches, strict=True):
            losses, rewards = (values.tolist() for values in objective.measured(model, batch))
            for place, loss in zip(group, losses, strict=True):
                number = len(segments[place].ranks)
                found[place], rewards = (loss, rewards[:number]), rewards[number:]
            done += len(group)
            tell("comparisons", done, len(segments))
    return found


def row_of(segment: PreferenceSegment, loss: float, rewards: Sequence[float]) -> Row:
    """What metrics take of a row."""
    if len(rewards) == 1:
        margins = [rewards[0] if segment.ranks[0] == 0 else -rewards[0]]
    else:
        judged = list(zip(segment.ranks, rewards, strict=True))
        margins = [better - worse for rank, better in judged for other, worse in judged if rank < other]
    right = sum(1.0 if margin > 0 else 0.5 if margin == 0 else 0.0 for margin in margins)
    return Row(log_likelihood=-loss, num_tokens=1, num_pairs=len(margins), num_right=right, margin=float(sum(margins)))


def rows_of(segments: Sequence[PreferenceSegment], found: Sequence[tuple[float, list[float]]]) -> list[Row]:
    """What metrics take: the rows about each prompt as one, since an interval that drew them apart would be too narrow.

    Sums stay what they are, so metrics do too. Rows that all ask one thing stay apart: they tell of that question only.
    """
    rows = [row_of(segment, *judgement) for segment, judgement in zip(segments, found, strict=True)]
    joined: dict[bytes, Row] = {}
    for segment, row in zip(segments, rows, strict=True):
        prompt = segment.input_ids[: segment.prompt_length].tobytes()
        joined[prompt] = together(joined[prompt], row) if prompt in joined else row
    return list(joined.values()) if len(joined) > 1 else rows


def together(one: Row, other: Row) -> Row:
    """Two measured rows as one."""
    return Row(
        log_likelihood=one.log_likelihood + other.log_likelihood,
        num_tokens=one.num_tokens + other.num_tokens,
        num_pairs=one.num_pairs + other.num_pairs,
        num_right=one.num_right + other.num_right,
        margin=one.margin + other.margin,
    )


def segments_of(dataset: PreferenceDataset, limit: int | None = None) -> list[PreferenceSegment]:
    """The rows of a data set, at most `limit`."""
    return [dataset[row] for row in range(len(dataset) if limit is None else min(limit, len(dataset)))]


def _batch(model: PreTrainedModel, segments: Sequence[PreferenceSegment]) -> PreferenceBatch:
    made = preference_batch(segments, packed=False, pad_id=0).to(model.device)
    assert isinstance(made, PreferenceBatch)
    return made
