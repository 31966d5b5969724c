"""The memory bill of a session that stands ready: what is there is counted, what a step adds is rehearsed.

    bill = weights + gradients + optimizer states + activations        bytes; a GB is 1e9 of them

Weights, gradients and states are exact. Activations are the tensors that autograd keeps for the backward pass of the
largest micro-batch among the first steps, found by running its forward pass. What the allocator and the kernels take
for themselves is not in it.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from accorda.data.batch import Batch
from accorda.methods.install import trainable
from accorda.training.optimizers.contract import Settings
from accorda.training.session import Session

STEPS_LOOKED_AT = 8


@dataclass(frozen=True, kw_only=True)
class Bill:
    """Bytes by what they are for."""

    weights: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def total(self) -> int:
        """The whole bill."""
        return self.weights + self.gradients + self.optimizer + self.activations

    def to_dict(self) -> dict[str, int]:
        """For JSON."""
        return {**vars(self), "total": self.total}


def rehearse(session: Session, optimizer: Settings) -> Bill:
    """The bill of a session; nothing of it changes, random generators included where the caller guards them."""
    model = session.model
    trained = list(trainable(model).values())
    return Bill(
        weights=storage_bytes([*model.parameters(), *model.buffers()]),
        gradients=sum(parameter.numel() * parameter.element_size() for parameter in trained),
        optimizer=round(sum(p.numel() * optimizer.bytes_per_parameter(p.shape) for p in trained)),
        activations=saved_bytes(session, largest(session)),
    )


def largest(session: Session) -> Batch:
    """The micro-batch with the most positions, padding included, among the first steps."""
    steps = range(min(STEPS_LOOKED_AT, session.batches.steps_per_epoch))
    return max((batch for step in steps for batch in session.batches.at(step)), key=lambda b: b.input_ids.numel())


def saved_bytes(session: Session, batch: Batch) -> int:
    """What autograd keeps of one forward pass, less what is a parameter or buffer anyway."""
    own = {tensor.untyped_storage().data_ptr() for tensor in tensors(session.model)}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with session.loop.precision.autocast(), torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = session.objective(session.model, batch)
    del loss
    return sum(kept.values())


def storage_bytes(found: Iterable[Tensor]) -> int:
    """Bytes of the tensors, tied ones once."""
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in found}
    return sum(storages.values())


def tensors(model: nn.Module) -> list[Tensor]:
    """Everything a model holds."""
    return [*model.parameters(), *model.buffers()]
