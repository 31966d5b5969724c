"""What the objectives of compared answers have in common: pairs inside a row, their mean, and figures of a step."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from accorda.data.batch import Batch
from accorda.data.preferences.batch import PreferenceBatch
from accorda.models.dropout import without_dropout
from accorda.training.figures import Figures
from accorda.training.objective import StepObjective


class Comparing(StepObjective):
    """(model, batch) -> the loss summed over the batch's rows. Nothing is dropped at random, in no pass."""

    def __init__(self, model: PreTrainedModel) -> None:
        without_dropout(model)
        self.seen = Figures()

    def begin(self, model: nn.Module, batches: Sequence[Batch]) -> None:
        self.seen = Figures()

    def figures(self) -> dict[str, float]:
        return self.seen.means()

    @abstractmethod
    def measured(self, model: PreTrainedModel, batch: PreferenceBatch) -> tuple[Tensor, Tensor]:
        """Without a gradient: the loss of each row, (B,), and the reward of each answer, (A,)."""

    def tell(self, chosen: Tensor, rejected: Tensor) -> None:
        """Note the rewards of pairs, (P,) each."""
        self.seen.add(
            {
                "rewards/chosen": chosen,
                "rewards/rejected": rejected,
                "rewards/margin": chosen - rejected,
                "rewards/accuracy": right(chosen - rejected),
            }
        )


def right(margins: Tensor) -> Tensor:
    """1 where the better answer has the higher reward, 0 where the other one has, a half where both are equal."""
    return (torch.sign(margins.detach()) + 1) / 2


def compared(batch: Batch) -> PreferenceBatch:
    """The batch, which is one of compared answers."""
    assert isinstance(batch, PreferenceBatch)
    return batch


def numbered(batch: PreferenceBatch, device: torch.device) -> tuple[Tensor, Tensor]:
    """Of every strict pair its better and its worse answer, (P,) each."""
    _, better, worse = zip(*batch.pairs, strict=True)
    return torch.tensor(better, device=device), torch.tensor(worse, device=device)


def mean_per_row(losses: Tensor, batch: PreferenceBatch) -> Tensor:
    """The mean over each row's pairs, (B,), of losses (P,)."""
    counts = [0] * len(batch.segments)
    for number, _, _ in batch.pairs:
        counts[number] += 1
    return torch.stack([part.mean() for part in cast(list[Tensor], list(losses.split(counts)))])
