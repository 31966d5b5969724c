"""The objective of stage preference: what an algorithm says of whole answers' log-probabilities.

The reference is the model as it was opened, on the same base: with no adapter acting, or with a frozen copy of the
adapter it brought. Both passes see the same batch, and nothing is dropped in either. A row that ranks more than two
answers has the mean over its strict pairs.
"""

from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from accorda.data.batch import Batch
from accorda.data.order import keys
from accorda.data.preferences.batch import PreferenceBatch, mismatched, preference_batch
from accorda.methods.install import installed
from accorda.methods.routing import routing, use
from accorda.models.positions import positions
from accorda.objectives.preference import kto as kto_file
from accorda.objectives.preference.contract import Algorithm, PairAlgorithm, Pairs
from accorda.objectives.preference.kto import KTO, Labelled
from accorda.training.comparing import Comparing, compared, mean_per_row, numbered
from accorda.training.next_token import SequenceLoss, sequence_log_probs

REFERENCE = "reference"
"""The name of the frozen copy of an adapter that the model brought."""


def reference_of(model: PreTrainedModel, *, needed: bool = False) -> str | None:
    """The adapter that the reference is: the copy of what the policy went on from; None for the base by itself.

    Raises:
        Refusal: it is `needed`, and the values that it had were not kept.
    """
    reference = REFERENCE if REFERENCE in installed(model) else None
    for original in routing(model).originals if needed else ():
        original.value_of(reference)
    return reference


class Preferring(Comparing):
    """(model, batch) -> the algorithm's loss summed over the batch's rows."""

    def __init__(self, algorithm: Algorithm, model: PreTrainedModel) -> None:
        super().__init__(model)
        self.algorithm = algorithm
        self.reference = reference_of(model, needed=algorithm.needs_reference)
        self.sequence_loss = SequenceLoss(model)

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        model, batch = cast(PreTrainedModel, model), compared(batch)
        reference = self.referred(model, batch)  # before the policy's pass: base values may have to be exchanged
        return self.sequence_loss(model, batch, batch.learned, lambda sums: self.judged(batch, sums, reference).sum())

    @torch.no_grad()
    def measured(self, model: PreTrainedModel, batch: PreferenceBatch) -> tuple[Tensor, Tensor]:
        reference = self.referred(model, batch)
        sums = sequence_log_probs(model, batch, batch.learned)
        return self.judged(batch, sums, reference), self.rewards(batch, sums, reference)

    def referred(self, model: PreTrainedModel, batch: PreferenceBatch) -> Tensor | None:
        """What the reference says of each answer, (A,); None for an algorithm without one."""
        if not self.algorithm.needs_reference:
            return None
        with use(model, self.reference):
            return sequence_log_probs(model, batch, batch.learned)

    def judged(self, batch: PreferenceBatch, sums: Tensor, reference: Tensor | None) -> Tensor:
        """The loss of each row, (B,)."""
        assert isinstance(self.algorithm, PairAlgorithm)
        better, worse = numbered(batch, sums.device)
        losses = self.algorithm.losses(pairs_of(batch, sums, reference, better, worse))
        chosen, rejected = self.algorithm.rewards(pairs_of(batch, sums.detach(), reference, better, worse))
        self.tell(chosen, rejected)
        self.seen.add({"log_probs/chosen": sums[better], "log_probs/rejected": sums[worse]})
        return mean_per_row(losses, batch)

    def rewards(self, batch: PreferenceBatch, sums: Tensor, reference: Tensor | None) -> Tensor:
        """What the policy makes of each answer, (A,)."""
        assert isinstance(self.algorithm, PairAlgorithm)
        every = torch.arange(len(sums), device=sums.device)
        return self.algorithm.rewards(pairs_of(batch, sums, reference, every, every))[0]


class PreferringThumbs(Preferring):
    """The same for answers that were liked or not, one per row.

    How far the policy is from the reference is estimated once a step from all its rows, each prompt with another row's
    answer, so that no split into micro-batches changes the loss.
    """

    def __init__(self, algorithm: KTO, model: PreTrainedModel) -> None:
        super().__init__(algorithm, model)
        self.kto = algorithm
        self.distance: Tensor | None = None

    @torch.no_grad()
    def begin(self, model: nn.Module, batches: Sequence[Batch]) -> None:
        super().begin(model, batches)
        model = cast(PreTrainedModel, model)
        policy, reference = [], []
        for batch in crossed([compared(batch) for batch in batches], positions(model)):
            with use(model, self.reference):
                reference.append(sequence_log_probs(model, batch, batch.learned))
            policy.append(sequence_log_probs(model, batch, batch.learned))
        self.distance = kto_file.reference_point(torch.cat(policy), torch.cat(reference)) if policy else None

    def figures(self) -> dict[str, float]:
        found = super().figures() | ({} if self.distance is None else {"kl": float(self.distance)})
        both = [found[name] for name in ("rewards/chosen", "rewards/rejected") if name in found]
        return found | ({"rewards/margin": both[0] - both[1]} if len(both) == 2 else {})

    def judged(self, batch: PreferenceBatch, sums: Tensor, reference: Tensor | None) -> Tensor:
        rows = self.labelled(batch, sums, reference)
        distance = sums.new_zeros(()) if self.distance is None else self.distance
        rewards = self.kto.rewards(rows).detach()
        for rank, name in enumerate(("chosen", "rejected")):
            mine = [at for at, segment in enumerate(batch.segments) if min(segment.ranks[0], 1) == rank]
            if mine:
                self.seen.add({f"rewards/{name}": rewards[mine], f"log_probs/{name}": sums[mine]})
        return self.kto.losses(rows, distance)

    def rewards(self, batch: PreferenceBatch, sums: Tensor, reference: Tensor | None) -> Tensor:
        return self.kto.rewards(self.labelled(batch, sums, reference))

    def labelled(self, batch: PreferenceBatch, sums: Tensor, reference: Tensor | None) -> Labelled:
        """The rows as the algorithm takes them."""
        assert reference is not None
        return Labelled(sums, reference, ranks_of(batch, sums.device) == 0)


def objective_of(algorithm: Algorithm) -> Callable[[PreTrainedModel], Preferring]:
    """What makes the objective of an algorithm."""
    if isinstance(algorithm, KTO):
        return lambda model: PreferringThumbs(algorithm, model)
    return lambda model: Preferring(algorithm, model)


def crossed(batches: Sequence[PreferenceBatch], longest: int | None) -> list[PreferenceBatch]:
    """Every prompt of a step with the answer of another row, put together as the step's own rows are.

    Rows follow each other in an order of their own numbers alone, so the split into micro-batches does not matter.
    """
    segments = [segment for batch in batches for segment in batch.segments]
    if len(segments) < 2:
        return []
    order = np.argsort(keys(0, 0, np.array([segment.index for segment in segments])), kind="stable")
    places = np.empty(len(segments), np.int64)
    places[order] = order[kto_file.mismatched(len(segments)).numpy()]
    found = mismatched(segments, places.tolist(), longest or 1 << 30)
    made, done = [], 0
    for batch in batches:
        mine = found[done : done + len(batch.segments)]
        done += len(mine)
        whole = preference_batch(mine, packed=batch.packing is not None, pad_id=0).to(batch.input_ids.device)
        made.append(compared(whole))
    return made


def pairs_of(batch: PreferenceBatch, sums: Tensor, reference: Tensor | None, better: Tensor, worse: Tensor) -> Pairs:
    """Pairs of answers, told by their numbers in the batch, (P,) each."""
    learned = torch.tensor(batch.learned, device=sums.device)
    return Pairs(
        sums[better],
        sums[worse],
        learned[better],
        learned[worse],
        None if reference is None else reference[better],
        None if reference is None else reference[worse],
    )


def ranks_of(batch: PreferenceBatch, device: torch.device) -> Tensor:
    """Of every answer of the batch, (A,)."""
    return torch.tensor([rank for segment in batch.segments for rank in segment.ranks], device=device)
