"""Is the gradient the optimizer gets the gradient of the loss?

A few rows in two unequal micro-batches go through the run's own loop (its division, packing, checkpointing, chunked
loss), against plain autograd on the same rows: each alone, whole logits, nothing recomputed,

    d/dw  sum_rows cross_entropy(row) / supervised tokens of all rows    (+ the method's extra loss, once)

or, of compared answers, of the algorithm's loss of each row over the number of rows; of answers that a policy sampled,
of the algorithm's loss of their tokens' log-probabilities.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointError

from accorda.data.batch import Batch, Segment
from accorda.methods.routing import routing, use
from accorda.proofs.contract import Check, Proof, Prover, check
from accorda.proofs.numerics import few_rows, in_fp32, no_dropout
from accorda.proofs.packing import batch_of
from accorda.proofs.plain import plain_loss
from accorda.training.loop import Loop, Objective, Observer
from accorda.training.objective import Making
from accorda.training.precision import Precision
from accorda.training.session import Session

TOLERANCE = 1e-3  # of the gradient's norm: fp32 sums in another order through all layers


class Gradient(Prover):
    """The accumulated gradient of a step equals plain autograd's."""

    name = "gradient"

    def prove(self, session: Session, folder: Path) -> Proof:
        """In fp32 and training mode without dropout, on a few rows of the first step."""
        segments, micro_batches = step_of(session)
        if len(segments) < 2:
            return Proof(self.name, "not applicable", "there are not two rows to accumulate over")
        with in_fp32(session.model, training=True), no_dropout(session.model):
            plain = _plain(session, segments, micro_batches)
            checks = [
                _compare("accumulated", plain, _taken(session, micro_batches)),
                _rerouted(session, micro_batches, plain),
            ]
        holds = f"two micro-batches of {len(segments)} rows accumulate to the gradient of the same rows each alone"
        return Proof.of_checks(self.name, checks, holds, rows=[s.index for s in segments], tolerance=TOLERANCE)


def step_of(session: Session) -> tuple[Sequence[Segment], Sequence[Batch]]:
    """A few rows and the same in two micro-batches or more; of what a policy learns, answers that it samples for it."""
    if isinstance(session.loop.carried, Making):
        return session.loop.carried.few()
    segments = few_rows([session.train[int(row)] for row in session.batches.rows(0)])
    return segments, [batch_of(session, part) for part in (segments[:1], segments[1:]) if part]


class _Taken(Exception):
    """The gradients are complete: leave the step before it moves anything."""


class _Take(Observer):
    def __init__(self) -> None:
        self.gradients: dict[str, Tensor] = {}

    def after_backward(self, loop: Loop, step: int) -> None:
        self.gradients = {name: p.grad.clone() for name, p in loop.parameters().items() if p.grad is not None}
        raise _Taken


class _Fixed:
    """The same micro-batches at every step."""

    def __init__(self, micro_batches: Sequence[Batch]):
        self.micro_batches = micro_batches

    def at(self, step: int) -> Sequence[Batch]:
        return self.micro_batches


def _taken(session: Session, micro_batches: Sequence[Batch], objective: Objective | None = None) -> dict[str, Tensor]:
    """The gradients of the run's own `step` over these micro-batches, which then moves nothing."""
    take, loop = _Take(), session.loop
    shadow = replace(
        loop,
        batches=_Fixed(micro_batches),
        observers=(take,),
        precision=Precision("fp32", loop.precision.device_type),
        objective=objective or loop.objective,
        memory=None,
        check=lambda: None,
    )
    with suppress(_Taken):
        shadow.step()
    return take.gradients


def _rerouted(session: Session, micro_batches: Sequence[Batch], plain: dict[str, Tensor]) -> Check:
    """Forward under the run's route, backward under none: recomputed blocks must take the route they ran with."""
    name, state = "recomputed under its own route", routing(session.model)
    if not _checkpointing(session.model):
        return Check(name, "not applicable", "no block is recomputed: gradient checkpointing is off")
    if state.originals or not state.route.active:
        return Check(name, "not applicable", "the method trains base parameters, and no route exchanges them in a step")
    active, objective = state.route.active, session.loop.objective

    def routed(model: nn.Module, batch: Batch) -> Tensor:
        with use(session.model, active):
            return objective(model, batch)

    try:
        with use(session.model, None):
            return _compare(name, plain, _taken(session, micro_batches, routed))
    except CheckpointError as error:
        return Check(name, "fails", f"a block is recomputed under another route: {str(error).splitlines()[0]}")


def _plain(session: Session, segments: Sequence[Segment], micro_batches: Sequence[Batch]) -> dict[str, Tensor]:
    """Plain autograd over transformers' own forward pass of each row, and what the method adds to the loss."""
    parameters, extra_loss = session.loop.parameters(), session.loop.extra_loss
    with _recomputing_nothing(session.model), torch.enable_grad():
        loss = plain_loss(session, segments, micro_batches)
        if extra_loss is not None:
            loss = loss + extra_loss()
        found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    return {name: gradient for name, gradient in zip(parameters, found, strict=True) if gradient is not None}


def _compare(name: str, plain: dict[str, Tensor], found: dict[str, Tensor]) -> Check:
    """Equal up to the tolerance, relative to the whole gradient's norm; the worst tensor is named."""
    empty = next(iter((plain | found).values()), torch.zeros(())).new_zeros(())  # on the gradients' device
    apart = {key: float((plain.get(key, empty) - found.get(key, empty)).norm()) for key in plain.keys() | found.keys()}
    norm = float(torch.stack([*(g.norm() for g in plain.values()), empty]).norm())
    if norm == 0:
        return Check(name, "not applicable", "the loss of these rows has no gradient")
    error = float(torch.tensor([*apart.values()]).norm()) / norm
    worst = max(apart, key=lambda key: apart[key])
    size = float(torch.stack([*(g.norm() for g in found.values()), empty]).norm()) / norm
    return check(
        name,
        error <= TOLERANCE,
        f"off by {error:.0e} of the gradient's norm",
        f"off by {error:.1e} of the plain gradient's norm and {size:.3f} times as long; most at {worst}",
    )


def _checkpointing(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if getattr(module, "gradient_checkpointing", False)]


@contextmanager
def _recomputing_nothing(model: nn.Module) -> Iterator[None]:
    switched: list[Any] = _checkpointing(model)
    for module in switched:
        module.gradient_checkpointing = False
    try:
        yield
    finally:
        for module in switched:
            module.gradient_checkpointing = True
