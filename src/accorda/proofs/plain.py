"""The loss of a few rows by plain means: every row, or answer, alone through transformers' own forward pass.

What the proof of the gradient differentiates; nothing of the run's own path to log-probabilities is used.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from itertools import pairwise as neighbours

import torch
from torch import Tensor

from accorda.data.batch import Batch, Segment
from accorda.data.preferences.batch import PreferenceSegment
from accorda.data.prompts.experience import Experience
from accorda.methods.routing import use
from accorda.models.heads import last_hidden
from accorda.objectives.preference.contract import PairAlgorithm, Pairs
from accorda.objectives.preference.kto import Labelled
from accorda.objectives.reward import pairwise
from accorda.proofs.numerics import alone
from accorda.training.policy import Policy
from accorda.training.preferring import Preferring, PreferringThumbs
from accorda.training.rewarding import Rewarding
from accorda.training.session import Session


def plain_loss(session: Session, segments: Sequence[Segment], micro_batches: Sequence[Batch]) -> Tensor:
    """The loss of these rows as one step, a scalar; `micro_batches` are the same rows as the run puts them together."""
    rows = [segment for segment in segments if isinstance(segment, PreferenceSegment)]
    match session.objective:
        case PreferringThumbs() as objective:
            objective.begin(session.model, micro_batches)  # how far the policy went is a number, not differentiated
            return torch.stack([_thumb(session, objective, row) for row in rows]).mean()
        case Preferring() as objective:
            return torch.stack([_preferred(session, objective, row) for row in rows]).mean()
        case Policy() as objective:
            objective.begin(session.model, micro_batches)
            sampled = [batch for batch in micro_batches if isinstance(batch, Experience)]
            return torch.stack([_sampled(session, objective, batch) for batch in sampled]).sum()
        case Rewarding() as objective:
            return torch.stack([_rewarded(session, objective, row) for row in rows]).mean()
        case _:
            log_probs = alone(session.model, segments)
            return -log_probs.sum() / len(log_probs)


def _sums(session: Session, row: PreferenceSegment) -> Tensor:
    return torch.stack([alone(session.model, [answer]).sum() for answer in row.answers])


@torch.no_grad()
def _reference(session: Session, objective: Preferring, row: PreferenceSegment) -> Tensor | None:
    if not objective.algorithm.needs_reference:
        return None
    with use(session.model, objective.reference):
        return _sums(session, row)


def _preferred(session: Session, objective: Preferring, row: PreferenceSegment) -> Tensor:
    """The mean over the row's strict pairs of one loss each."""
    assert isinstance(objective.algorithm, PairAlgorithm)
    reference, policy = _reference(session, objective, row), _sums(session, row)
    lengths = policy.new_tensor([int(answer.supervised[1:].sum()) for answer in row.answers])
    losses = []
    for better, worse in _pairs(row):
        pair = [policy[better], policy[worse], lengths[better], lengths[worse]]
        if reference is not None:
            pair += [reference[better], reference[worse]]
        losses.append(objective.algorithm.losses(Pairs(*(value[None] for value in pair))))
    return torch.cat(losses).mean()


def _thumb(session: Session, objective: PreferringThumbs, row: PreferenceSegment) -> Tensor:
    reference, policy = _reference(session, objective, row), _sums(session, row)
    assert reference is not None
    liked = torch.tensor([row.ranks[0] == 0], device=policy.device)
    distance = policy.new_zeros(()) if objective.distance is None else objective.distance
    return objective.kto.losses(Labelled(policy, reference, liked), distance)[0]


def _rewarded(session: Session, objective: Rewarding, row: PreferenceSegment) -> Tensor:
    rewards = alone(session.model, [row])
    losses = [
        pairwise(rewards[better], rewards[worse], margin=row.margin, centring=objective.centring)
        for better, worse in _pairs(row)
    ]
    return torch.stack(losses).mean()


def _sampled(session: Session, objective: Policy, batch: Experience) -> Tensor:
    """A micro-batch's share of a step's loss, from each completion by itself."""
    model, log_probs, values = session.model, list[Tensor](), list[Tensor]()
    adapter = objective.value.adapter if objective.value is not None else None
    for ids, number in zip(rows_in(batch), batch.learned, strict=True):
        if not batch.value_only:
            scores = torch.log_softmax(model(ids[None], use_cache=False).logits[0].float() / objective.temperature, -1)
            log_probs.append(scores[-number - 1 : -1].gather(-1, ids[-number:, None])[:, 0])
        if objective.value is not None and batch.value_only == (adapter is not None):
            with use(model, adapter) if adapter is not None else nullcontext():
                values.append(objective.value(last_hidden(model, input_ids=ids[None])[0, -number - 1 : -1]))
    loss = objective.judged(batch, torch.cat(log_probs)) if log_probs else torch.zeros((), device=model.device)
    return loss + objective.valued(batch, torch.cat(values)) if values else loss


def rows_in(batch: Batch) -> list[Tensor]:
    """The ids of each row of a batch, without what it is padded with."""
    if batch.packing is not None:
        return [batch.input_ids[0, start:end] for start, end in neighbours(batch.packing.borders)]
    if batch.attention_mask is None:
        return list(batch.input_ids)
    lengths = batch.attention_mask.sum(1).tolist()
    return [row[:length] for row, length in zip(batch.input_ids, lengths, strict=True)]


def _pairs(row: PreferenceSegment) -> list[tuple[int, int]]:
    numbers = range(len(row.ranks))
    return [(one, other) for one in numbers for other in numbers if row.ranks[one] < row.ranks[other]]
