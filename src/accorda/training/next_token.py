"""The objective of pretraining and supervised fine-tuning: each supervised token, predicted from those before it.

One owner of the path from a batch to its log-probabilities: training, evaluation and proofs all go through it.
"""

from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from accorda.data.batch import Batch
from accorda.models.heads import last_hidden, logits, tail_parameters
from accorda.objectives.language_model import chunk_size, chunked_log_probs, chunked_loss


class NextToken:
    """(model, batch) -> the loss summed over the batch's supervised tokens, in nats.

    Made after the method was installed and what trains was decided: which parameters of the head train is looked up
    once.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.parameters = tail_parameters(model)
        self.chunk = _chunk(model)

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """The summed loss, a scalar in fp32."""
        model = cast(PreTrainedModel, model)
        hidden_ND, labels_N = predicting(model, batch)
        return chunked_loss(hidden_ND, labels_N, partial(logits, model), self.parameters, self.chunk)


@torch.no_grad()
def next_token_log_probs(model: PreTrainedModel, batch: Batch) -> Tensor:
    """Log-probability in nats of each supervised token of the batch, (N,), in the order of `batch.targets()`."""
    hidden_ND, labels_N = predicting(model, batch)
    return chunked_log_probs(hidden_ND, labels_N, partial(logits, model), _chunk(model))


def predicting(model: PreTrainedModel, batch: Batch) -> tuple[Tensor, Tensor]:
    """The hidden states (N, D) that predict a supervised token, and those tokens (N,)."""
    positions, labels_N = batch.targets()
    hidden_BTD = last_hidden(model, **batch.inputs())
    return hidden_BTD.flatten(0, 1).index_select(0, positions), labels_N


def _chunk(model: PreTrainedModel) -> int:
    """How many positions' logits exist at a time."""
    return chunk_size(model.config.get_text_config(decoder=True).vocab_size)
