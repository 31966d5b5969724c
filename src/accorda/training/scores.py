"""What a policy says of tokens that were sampled: log-probabilities and entropies at a temperature, few at a time."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from transformers import PreTrainedModel

from accorda.data.batch import Batch
from accorda.models.heads import logits
from accorda.objectives.language_model import by_chunk
from accorda.objectives.policy.entropy import log_probs_alone, log_probs_and_entropy
from accorda.training.next_token import positions_at_once, predicting


def at_temperature(model: PreTrainedModel, temperature: float, hidden: Tensor) -> Tensor:
    """The model's logits for hidden states, divided by the temperature."""
    found = logits(model, hidden)
    return found if temperature == 1 else found / temperature


@torch.no_grad()
def scored(hidden_ND: Tensor, labels_N: Tensor, head: Callable[[Tensor], Tensor], chunk: int) -> tuple[Tensor, Tensor]:
    """Log-probability of each label and entropy of its position, (N,) each in fp32, chunk by chunk."""
    parts = by_chunk(log_probs_and_entropy, hidden_ND, labels_N, head, chunk)
    one, other = zip(*parts, strict=True) if parts else ((_nothing(hidden_ND),), (_nothing(hidden_ND),))
    return torch.cat(one), torch.cat(other)


@torch.no_grad()
def log_probs_of(hidden_ND: Tensor, labels_N: Tensor, head: Callable[[Tensor], Tensor], chunk: int) -> Tensor:
    """The first of `scored` alone, bit for bit."""
    parts = by_chunk(log_probs_alone, hidden_ND, labels_N, head, chunk)
    return torch.cat(parts or [_nothing(hidden_ND)])


@torch.no_grad()
def sampled_log_probs(model: PreTrainedModel, batch: Batch, temperature: float) -> Tensor:
    """What the model, as its adapters act now, says of every sampled token of a batch, (N,)."""
    head = partial(at_temperature, model, temperature)
    return log_probs_of(*predicting(model, batch), head, positions_at_once(model))


def _nothing(hidden_ND: Tensor) -> Tensor:
    return hidden_ND.new_zeros(0, dtype=torch.float32)
