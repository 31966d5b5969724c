"""The objective of stage reward: one number per answer, read where the answer ends.

The hidden state of an answer's last token (its end-of-turn token) goes through the model's own head, in fp32 whatever
the model computes in. A row's loss is the mean over its strict pairs, so every answer is read once however many it is
compared with.
"""

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from accorda.data.batch import Batch
from accorda.data.preferences.batch import PreferenceBatch
from accorda.models.heads import last_hidden, logits
from accorda.models.quiet import quiet
from accorda.objectives.reward import k_wise
from accorda.training.comparing import Comparing, compared, numbered


class Rewarding(Comparing):
    """(model, batch) -> the loss summed over the batch's rows, in nats."""

    def __init__(self, model: PreTrainedModel, *, centring: float = 0.0) -> None:
        super().__init__(model)
        self.centring = centring

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        batch = compared(batch)
        return self.judged(batch, rewards(cast(PreTrainedModel, model), batch)).sum()

    def judged(self, batch: PreferenceBatch, rewards_A: Tensor) -> Tensor:
        """The loss of each row, (B,)."""
        better, worse = numbered(batch, rewards_A.device)
        self.tell(rewards_A[better], rewards_A[worse])
        ranks = [torch.tensor(segment.ranks, device=rewards_A.device) for segment in batch.segments]
        rewards_BK = side_by_side(rewards_A.split([len(row) for row in ranks]))
        mask = side_by_side([torch.ones_like(row) for row in ranks])
        margin = torch.tensor([segment.margin for segment in batch.segments], device=rewards_A.device)
        return k_wise(rewards_BK, side_by_side(ranks), mask, margin=margin, centring=self.centring)

    @torch.no_grad()
    def measured(self, model: PreTrainedModel, batch: PreferenceBatch) -> tuple[Tensor, Tensor]:
        found = rewards(model, batch)
        return self.judged(batch, found), found


def side_by_side(rows: Sequence[Tensor]) -> Tensor:
    """Rows of numbers as (B, K), zero behind the end of a shorter one."""
    return nn.utils.rnn.pad_sequence(list(rows), batch_first=True)


def rewards(model: PreTrainedModel, batch: PreferenceBatch) -> Tensor:
    """The reward of each answer, (A,), in fp32."""
    hidden_BTD = last_hidden(model, **batch.inputs())
    hidden_AD = hidden_BTD.flatten(0, 1).index_select(0, ends(batch).to(hidden_BTD.device))
    with torch.autocast(hidden_AD.device.type, enabled=False), quiet():  # it warns of padding, and there is none here
        return logits(model, hidden_AD.to(head_dtype(model)).unsqueeze(1))[:, 0].float()


def ends(batch: PreferenceBatch) -> Tensor:
    """Where each answer's last token stands in the hidden states flattened, (A,)."""
    if batch.packing is not None:
        return torch.tensor(list(accumulate(batch.lengths))) - 1
    return torch.arange(len(batch.lengths)) * batch.input_ids.shape[1] + torch.tensor(batch.lengths) - 1


def head_dtype(model: PreTrainedModel) -> torch.dtype:
    """What the head's weights are kept in."""
    heads = [child for child in model.children() if child is not model.base_model]
    return next(parameter.dtype for head in heads for parameter in head.parameters())


def objective_of(centring: float) -> Callable[[PreTrainedModel], Rewarding]:
    """What makes the objective."""
    return lambda model: Rewarding(model, centring=centring)
