"""The training loop: an object whose `step` makes one optimizer step and whose `state` is all it would need again.

The loss of a step is the sum over its supervised tokens divided by their number in the whole step, so every split into
micro-batches gives the same gradient. Sums run in a fixed order: the same state makes the same step, bit for bit.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from accorda.data.batch import Batch, Segment
from accorda.data.sampler import Segments
from accorda.training.checkpoint import State
from accorda.training.memory import PeakMemory
from accorda.training.objective import Carried, StepObjective
from accorda.training.optimizers.states import copied, letting_go, load_states, states_of
from accorda.training.parts import Part, unwatched
from accorda.training.precision import LossScale, Precision
from accorda.training.rng import Generators, undisturbed

Objective = Callable[[nn.Module, Batch], Tensor]


class Batches(Protocol):
    """The micro-batches of every optimizer step: a pure function of the step and what the loop's state holds."""

    @property
    def dataset(self) -> Segments:
        """The rows that batches number."""
        ...

    def at(self, step: int) -> Sequence[Batch]:
        """Those of optimizer step `step`, counted from 0."""
        ...

    def together(self, segments: Sequence[Segment]) -> Batch:
        """Any rows in one micro-batch, made as the others are."""
        ...


class Observer:
    """Watches a run without changing it. Proofs that need to see a run override what they need."""

    def before_first_step(self, loop: "Loop") -> None:
        """Called once, when everything is in place and before this process makes its first step."""

    def after_backward(self, loop: "Loop", step: int) -> None:
        """Called when the gradients of step `step` (counted from 1) are complete and not yet clipped."""

    def after_checkpoint(self, loop: "Loop", folder: Path) -> None:
        """Called when the loop's state was written to `folder`; the loop may be stepped if it is then put back."""


class NonFinite(Exception):
    """The loss or the gradient of a step is not finite. Raised before the optimizer moved anything."""

    def __init__(self, what: str, step: int) -> None:
        super().__init__(f"the {what} of step {step} is not finite")
        self.what = what
        self.step = step


@dataclass(kw_only=True, eq=False)
class Loop:
    """Everything one optimizer step needs.

    objective: (model, batch) -> the loss summed over the batch's supervised tokens, in nats.
    optimizer: with groups that have `names` and `scale` (`optimizers.groups`); its rate is set from `schedule`.
    extra_loss: gives a scalar that is added to the loss of every step, once however the step is split.
    on_step: called with the number of a step after its update, before the gradients are dropped.
    part: called with the name of a part of a step; what it gives is entered around that part.
    check: called between micro-batches; may raise to stop the run there.
    carried: what else belongs to the state.
    """

    model: nn.Module
    objective: Objective
    batches: Batches
    optimizer: torch.optim.Optimizer
    schedule: Callable[[int], float]
    max_grad_norm: float | None = 1.0
    precision: Precision = field(default_factory=Precision)
    observers: Sequence[Observer] = ()
    memory: PeakMemory | None = None
    extra_loss: Callable[[], Tensor] | None = None
    on_step: Callable[[int], None] | None = None
    part: Part = unwatched
    check: Callable[[], None] = lambda: None
    carried: Carried | None = None
    step_number: int = field(default=0, init=False)
    loss_scale: LossScale | None = field(default=None, init=False)
    updating: bool = field(default=False, init=False)  # stays True where the optimizer's own step was cut short
    _begun: bool = field(default=False, init=False)
    _watching: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        if self.precision.name == "fp16":
            self.loss_scale = LossScale()

    def step(self) -> dict[str, Any]:
        """Make one optimizer step and tell about it: the event of the run's log. Its seconds leave observers out.

        Raises:
            NonFinite: nothing was updated, the state is that of before the step.
        """
        self._begin()
        began, self._watching = perf_counter(), 0.0
        with self._undone_on_failure():
            with self.part("data"):
                micro_batches = self.batches.at(self.step_number)
            num_supervised = sum(batch.num_supervised for batch in micro_batches)
            losses: list[Tensor] = []
            whole = self.objective if isinstance(self.objective, StepObjective) else None
            if whole is not None:
                with self.part("forward"), self.precision.autocast():
                    whole.begin(self.model, micro_batches)
            extra = None if self.extra_loss is None else self.extra_loss()
            for batch in micro_batches:
                self.check()
                with self.part("forward"), self.precision.autocast():
                    loss = self.objective(self.model, batch) / num_supervised
                losses.append(loss.detach())
                if extra is not None and len(losses) == 1:
                    loss = loss + extra
                if self.loss_scale:
                    loss = loss * self.loss_scale.value
                with self.part("backward"):
                    loss.backward()
            total = float(sum(losses))
            with self.part("optimizer"):
                grad_norm = self._finish_gradients(total)
        rate = self._set_learning_rates()
        with self.part("optimizer"):
            self._update(grad_norm)
        self.step_number += 1
        told = {
            "event": "step",
            "step": self.step_number,
            "loss": total,
            "learning_rate": rate,
            "grad_norm": grad_norm if math.isfinite(grad_norm) else None,
            "tokens": sum(batch.num_tokens for batch in micro_batches),
            "supervised_tokens": num_supervised,
            "seconds": perf_counter() - began - self._watching,
            "memory": self.memory.bytes() if self.memory else None,
        }
        told |= {} if whole is None else whole.figures()
        told |= {} if self.carried is None else self.carried.figures(told)
        return told if extra is None else told | {"extra_loss": float(extra.detach())}

    def parameters(self) -> dict[str, nn.Parameter]:
        """The parameters that train, by name."""
        groups = self.optimizer.param_groups
        return {name: p for group in groups for name, p in zip(group["names"], group["params"], strict=True)}

    def state(self, *, copy: bool = True) -> State:
        """All that the following steps depend on, between two steps. Without `copy` the tensors are the live ones."""
        if self.updating:
            raise RuntimeError("the optimizer was interrupted half-way; only an earlier checkpoint is whole")
        rng = Generators.capture()
        state = State(values={"step": self.step_number})
        state.put("parameters", State(dict(self.parameters())))
        state.put("buffers", State(self._buffers()))
        state.put("optimizer", State(*states_of(self.optimizer, self.parameters())))
        state.put("rng", State(rng.tensors, rng.values))
        if self.carried is not None:
            state.put("carried", self.carried.state())
        state.values["loss_scale"] = asdict(self.loss_scale) if self.loss_scale else None
        if copy:
            state.tensors = copied(self.optimizer, state.tensors)
        else:
            state.let_go = letting_go(self.optimizer)
        return state

    def load_state(self, state: State) -> None:
        """Go on from `state`, which stays as it is.

        Raises:
            ValueError: it is the state of a loop with other tensors.
        """
        self.load_parameters(state)
        _fill(self._buffers(), state.part("buffers").tensors)
        learned = state.part("optimizer")
        load_states(self.optimizer, self.parameters(), learned.tensors | learned.values)
        rng = state.part("rng")
        Generators(rng.tensors, rng.values).restore()
        if self.carried is not None:
            self.carried.load_state(state.part("carried"))
        self.loss_scale = LossScale(**state.values["loss_scale"]) if state.values["loss_scale"] else None
        self.step_number = state.values["step"]
        self.updating = False

    def load_parameters(self, state: State) -> None:
        """Give the model the parameters of `state`, and keep all else."""
        _fill(dict(self.parameters()), state.part("parameters").tensors)

    def _begin(self) -> None:
        self.model.train()
        if not self._begun:
            self._begun = True
            with self.part("proofs"), undisturbed():
                for observer in self.observers:
                    observer.before_first_step(self)

    @contextmanager
    def _undone_on_failure(self) -> Iterator[None]:
        """Whatever stops a step before its update leaves no gradients, drawn numbers or counts behind."""
        before, buffers = Generators.capture(), {name: b.clone() for name, b in self._buffers().items()}
        try:
            yield
        except BaseException:
            self.optimizer.zero_grad()
            before.restore()
            _fill(self._buffers(), buffers)
            raise

    def _finish_gradients(self, loss: float) -> float:
        """Unscale, show to the observers, clip. The total norm before clipping."""
        gradients = [p.grad for p in self.parameters().values() if p.grad is not None]
        if self.loss_scale:
            for gradient in gradients:
                gradient.div_(self.loss_scale.value)
        watched = perf_counter()
        with self.part("proofs"), undisturbed():
            for observer in self.observers:
                observer.after_backward(self, self.step_number + 1)
        self._watching = perf_counter() - watched
        norm = get_total_norm(gradients)
        clip_grads_with_norm_(self.parameters().values(), self.max_grad_norm or math.inf, norm)
        self._require_finite(loss, float(norm))
        return float(norm)

    def _update(self, grad_norm: float) -> None:
        """Move what trains, where the gradients are finite, and drop them."""
        if math.isfinite(grad_norm):
            self.updating = True
            self.optimizer.step()
            if self.on_step is not None:
                self.on_step(self.step_number + 1)
            self.updating = False
        self.optimizer.zero_grad()

    def _require_finite(self, loss: float, grad_norm: float) -> None:
        step = self.step_number + 1
        if not math.isfinite(loss):
            raise NonFinite("loss", step)
        if self.loss_scale:
            self.loss_scale.update(math.isfinite(grad_norm))
        if not math.isfinite(grad_norm) and (self.loss_scale is None or self.loss_scale.exhausted):
            raise NonFinite("gradient", step)

    def _set_learning_rates(self) -> float:
        rate = self.schedule(self.step_number)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        return rate

    def _buffers(self) -> dict[str, Tensor]:
        """Buffers of the modules that train: what a method keeps count of beside its parameters."""
        trained = [(n, m) for n, m in self.model.named_modules() if any(p.requires_grad for p in m.parameters(False))]
        return {
            f"{name}.{key}": value for name, module in trained for key, value in module.named_buffers(recurse=False)
        }


@torch.no_grad()
def _fill(live: Mapping[str, Tensor], stored: Mapping[str, Tensor]) -> None:
    """Copy stored tensors into live ones of the same names."""
    if other := live.keys() ^ stored.keys():
        raise ValueError(f"the state is of other tensors: {', '.join(sorted(other)[:5])}")
    for name, tensor in live.items():
        tensor.copy_(stored[name])
