"""How far one model says what another says: on the supervised tokens of rows, over the whole vocabulary.

KL = mean_n sum_v p_nv (log p_nv - log q_nv),    p of the model remembered, q of the one compared, in nats
top-1 agreement = share of positions n where both find the same token most probable
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from accorda.data.batch import Segment, pad_batch
from accorda.generation.sample import evaluating
from accorda.models.heads import logits
from accorda.training.next_token import predicting

MOST_NUMBERS = 64_000_000
"""Log-probabilities kept at most: positions times vocabulary."""


@dataclass(frozen=True)
class Remembered:
    """Log-probabilities (N, V) of a model at N supervised positions, the tokens there (N,), and how many rows."""

    log_probs_NV: Tensor
    labels_N: Tensor
    rows: int

    @property
    def loss(self) -> float:
        """Mean negative log-likelihood in nats per token."""
        return -float(self.log_probs_NV.gather(1, self.labels_N[:, None]).double().mean())


@dataclass(frozen=True)
class Agreement:
    """Means over the positions: the divergence in nats, the share of equal first choices, the compared model's loss."""

    kl: float
    top1: float
    loss: float


def remember(model: PreTrainedModel, segments: Sequence[Segment]) -> Remembered:
    """What a model says at the supervised positions of rows, of as many rows as `MOST_NUMBERS` has room for."""
    room = MOST_NUMBERS // model.config.get_text_config(decoder=True).vocab_size
    parts: list[Tensor] = []
    labels: list[Tensor] = []
    for log_probs_NV, labels_N in _said(model, segments):
        if parts and room < len(labels_N):
            break
        parts.append(log_probs_NV[:room])
        labels.append(labels_N[:room])
        room -= len(parts[-1])
    return Remembered(torch.cat(parts), torch.cat(labels), len(parts))


def agreement(remembered: Remembered, model: PreTrainedModel, segments: Sequence[Segment]) -> Agreement:
    """How far the model says the same on the same rows."""
    done, kl, same, loss = 0, 0.0, 0, 0.0
    for log_probs_NV, labels_N in _said(model, segments[: remembered.rows]):
        first_NV = remembered.log_probs_NV[done : done + len(labels_N)]
        second_NV, labels_N = log_probs_NV[: len(first_NV)], labels_N[: len(first_NV)]
        kl += float((first_NV.exp() * (first_NV - second_NV)).double().sum())
        same += int((first_NV.argmax(1) == second_NV.argmax(1)).sum())
        loss -= float(second_NV.gather(1, labels_N[:, None]).double().sum())
        done += len(first_NV)
    return Agreement(max(kl / done, 0.0), same / done, loss / done)  # in fp32 two alike may differ by less than nothing


@torch.no_grad()
def _said(model: PreTrainedModel, segments: Sequence[Segment]) -> Iterator[tuple[Tensor, Tensor]]:
    """Row by row, log-probabilities (N, V) in fp32 and the supervised tokens (N,)."""
    with evaluating(model):
        for segment in segments:
            hidden_ND, labels_N = predicting(model, pad_batch([segment], pad_id=0).to(model.device))
            yield torch.log_softmax(logits(model, hidden_ND).float(), -1), labels_N
