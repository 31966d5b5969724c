"""The objective of pretraining and supervised fine-tuning: each supervised token, predicted from those before it.

One owner of the path from a batch to its log-probabilities: training, evaluation and proofs all go through it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from accorda.data.batch import Batch
from accorda.kernels.pretended import pretended
from accorda.models.heads import last_hidden, logits, tail_parameters
from accorda.objectives.language_model import chunk_size, chunked_log_probs, chunked_loss


class NextToken:
    """(model, batch) -> the loss summed over the batch's supervised tokens, in nats.

    Made after the method was installed and what trains was decided: which parameters of the head train is looked up
    once.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.parameters = tail_parameters(model)
        self.chunk = positions_at_once(model)

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """The summed loss, a scalar in fp32."""
        model = cast(PreTrainedModel, model)
        hidden_ND, labels_N = predicting(model, batch)
        return chunked_loss(hidden_ND, labels_N, partial(logits, model), self.parameters, self.chunk)


@torch.no_grad()
def next_token_log_probs(model: PreTrainedModel, batch: Batch) -> Tensor:
    """Log-probability in nats of each supervised token of the batch, (N,), in the order of `batch.targets()`."""
    hidden_ND, labels_N = predicting(model, batch)
    return chunked_log_probs(hidden_ND, labels_N, partial(logits, model), positions_at_once(model))


class SequenceLoss:
    """A loss that is a function of whole answers' log-probabilities, with the logits of a chunk of positions at a time.

    Made, like `NextToken`, when it is decided what trains.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.parameters = tail_parameters(model)
        self.chunk = positions_at_once(model)

    def __call__(
        self, model: PreTrainedModel, batch: Batch, learned: Sequence[int], loss: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """The loss, a scalar in fp32.

        Args:
            model: as its adapters act now.
            batch: answers in one forward pass.
            learned: how many labels each answer has, in the order of `batch.targets()`; A numbers.
            loss: of the answers' summed log-probabilities in nats, (A,): a scalar.
        """
        hidden_ND, labels_N = predicting(model, batch)
        head = partial(logits, model)
        found_N = chunked_log_probs(hidden_ND, labels_N, head, self.chunk)
        if not torch.is_grad_enabled():
            return loss(summed(found_N, learned))
        tail = Tail(head, self.parameters, self.chunk)
        return carried_back(hidden_ND, labels_N, tail, found_N, lambda values_N: loss(summed(values_N, learned)))


@dataclass(frozen=True)
class Tail:
    """From hidden states (n, D) to logits (n, V): the function, what trains inside it, how many positions at once."""

    head: Callable[[Tensor], Tensor]
    parameters: Sequence[nn.Parameter]
    chunk: int


def carried_back(
    hidden_ND: Tensor, labels_N: Tensor, tail: Tail, found_N: Tensor, loss: Callable[[Tensor], Tensor]
) -> Tensor:
    """Any function of labels' log-probabilities as a loss: a scalar whose gradient reaches what made the hidden states.

    The head runs before, for the log-probabilities `found_N`, from which follows how the loss changes with each of
    them; and here for the gradient, which is formed where the logits are, but on the last chunk if it is `Ahead`.
    """
    found_N = found_N.detach().requires_grad_()
    value = loss(found_N)
    (slopes_N,) = torch.autograd.grad(value, found_N)
    carrier = chunked_loss(hidden_ND, labels_N, tail.head, tail.parameters, tail.chunk, -slopes_N)
    return value.detach() + (carrier - carrier.detach())  # the value of the one, the gradient of the other


@torch.no_grad()
def sequence_log_probs(model: PreTrainedModel, batch: Batch, learned: Sequence[int]) -> Tensor:
    """The summed log-probability in nats of each answer's labels, (A,); `learned` are their numbers."""
    return summed(next_token_log_probs(model, batch), learned)


def summed(values_N: Tensor, learned: Sequence[int]) -> Tensor:
    """Sums of stretches of `learned` values each, (A,): in a fixed order, so equal inputs give equal bits."""
    return torch.stack([part.sum() for part in values_N.split(list(learned))])


def predicting(model: PreTrainedModel, batch: Batch) -> tuple[Tensor, Tensor]:
    """The hidden states (N, D) that predict a supervised token, and those tokens (N,)."""
    positions, labels_N = batch.targets()
    hidden_BTD = last_hidden(model, **batch.inputs())
    return hidden_BTD.flatten(0, 1).index_select(0, positions), labels_N


def positions_at_once(model: PreTrainedModel) -> int:
    """How many positions' logits exist at a time."""
    return chunk_size(model.config.get_text_config(decoder=True).vocab_size, pretended() or model.device.type)
