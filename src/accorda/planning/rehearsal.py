"""A run's passes gone through with the real code on a hollow model, and every tensor they make written down.

Nothing is estimated here: the model, its method, the objective, autograd and the optimizer run as they would, on
shapes. What kernels allocate inside themselves is not seen.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from transformers import PreTrainedModel

from accorda.data.batch import Batch
from accorda.data.labelled.batch import LabelledBatch
from accorda.data.preferences.batch import PreferenceBatch
from accorda.data.prompts.experience import Experience, for_values
from accorda.generation.sample import evaluating
from accorda.kernels.pretended import pretending
from accorda.methods.install import trainable
from accorda.methods.stepping import extra_loss
from accorda.models.heads import last_hidden, logits
from accorda.models.roles import backbones
from accorda.objectives.language_model import chunk_size, chunked_log_probs
from accorda.planning.answering import Answering
from accorda.planning.hollow import hollow
from accorda.planning.judge import Judge
from accorda.planning.ledger import Ledger
from accorda.planning.workload import SampledShapes, SampledWorkload, Workload
from accorda.training.classifying import row_scores
from accorda.training.comparing import Comparing
from accorda.training.loop import Objective
from accorda.training.objective import StepObjective
from accorda.training.optimizers.contract import Settings
from accorda.training.optimizers.groups import parameter_groups
from accorda.training.policy import Policy
from accorda.training.precision import Precision

BASE, COPY, ADAPTER, GRADIENT, OPTIMIZER = "weights", "base copy", "adapter", "gradients", "optimizer states"
JUDGE = "reward model"
ACTIVATION, OTHER = "activations", "workspace"
TRAINING = "training"  # the stretch of optimizer steps
FORWARD, LOSS, BACKWARD, UPDATE = "forward", "loss chunks", "backward", "update"


@dataclass(frozen=True)
class Passes:
    """What a run goes through. `evaluation`: rows measured at once. `answers`: rows, prompt and new tokens.

    `judges`: the reward models that read them.
    """

    step: tuple[Workload, ...]
    evaluation: Workload | None = None
    answers: tuple[int, int, int] | None = None
    judges: tuple[Judge, ...] = ()


@dataclass(frozen=True)
class Stretch:
    """A stretch of a rehearsed run: where its events begin and end in the ledger."""

    name: str
    begin: int
    end: int


@dataclass
class Rehearsal:
    """The ledger of the whole course, and its stretches.

    kinds: what tensors are, by number, where they are something by name. forwards_end, backwards_end: events at
    which a pass has ended. in_files: the tensors that are pages of the checkpoint.
    """

    ledger: Ledger
    stretches: list[Stretch]
    kinds: dict[int, str]
    forwards_end: list[int]
    backwards_end: list[int]
    in_files: set[int]


def rehearse(
    model: PreTrainedModel,
    make_objective: Callable[[PreTrainedModel], Objective],
    passes: Passes,
    optimizer: Settings,
    precision: Precision,
    in_files: frozenset[int] = frozenset(),
) -> Rehearsal:
    """Evaluation, optimizer steps and answers, on shapes. The model is as before afterwards.

    Args:
        model: with its method installed and what trains decided; in memory or on the meta device.
        make_objective: the stage's.
        passes: the shapes that go through it.
        optimizer: settings of the optimizer.
        precision: of the products.
        in_files: ids of the parameters that are pages of the checkpoint.
    """
    training = model.training
    filed = [name for name, parameter in model.named_parameters() if id(parameter) in in_files]
    judges = [judge.model for judge in passes.judges if judge.model is not None]
    with hollow(model, *judges), pretending(precision.device_type), torch.random.fork_rng(devices=[]):
        course = _Course(model, make_objective, passes, optimizer, precision, filed)
        try:
            return course.run()
        finally:
            model.train(training)


class _Course:
    """One rehearsal."""

    def __init__(
        self, model: Any, make: Any, passes: Passes, optimizer: Settings, precision: Precision, filed: Sequence[str]
    ):
        self.model, self.passes, self.precision, self.filed = model, passes, precision, filed
        self.kind, self.objective = precision.device_type, make(model)
        own = self.objective.own_parameters() if isinstance(self.objective, StepObjective) else {}
        self.trained, self.own, self.extra_loss = trainable(model) | own, own, extra_loss(model)
        self.optimizer = optimizer.build(parameter_groups(self.trained))
        self.ledger = Ledger()
        self.kinds: dict[int, str] = {}
        self.stretches: list[Stretch] = []
        self.judging: list[Tensor] = []
        self.forwards_end: list[int] = []
        self.backwards_end: list[int] = []

    def run(self) -> Rehearsal:
        """Everything in the order of a run."""
        with self.ledger:
            with self.stretch("start"):
                self.enter_model()
            if self.passes.evaluation is not None:
                with self.stretch("evaluation"):
                    self.evaluate(self.passes.evaluation)
            phased = any(isinstance(work, SampledWorkload) for work in self.passes.step)
            if self.kind == "cpu":
                self.phase() if phased else None
                with self.stretch(TRAINING):
                    self.step(self.passes.step[:1])
            else:  # where a tensor lies does not matter, and states are there from the second step on: no first one
                self.enter_states()
            self.phase() if phased else None
            with self.stretch(TRAINING):
                self.step(self.passes.step)
            None if phased else self.phase()
        filed = {self.ledger.note(self.model.get_parameter(name)) for name in self.filed}
        filed |= {self.ledger.note(tensor) for tensor in self.judging}
        return Rehearsal(self.ledger, self.stretches, self.kinds, self.forwards_end, self.backwards_end, filed)

    @contextmanager
    def stretch(self, name: str) -> Iterator[None]:
        """Events that belong together."""
        begin = len(self.ledger.events)
        yield
        self.stretches.append(Stretch(name, begin, len(self.ledger.events)))

    def phase(self) -> None:
        """What stands before the steps of stage rl and behind those of others: answers, judged and scored."""
        if self.passes.answers is not None:
            with self.stretch("answers"), evaluating(self.model), self.autocast():
                self.ledger.label = OTHER
                Answering(self.model, self.ledger, self.kinds).answer(*self.passes.answers)
        for judge in self.passes.judges:
            with self.stretch("rewards"):
                self.judge(judge)
        if isinstance(self.objective, Policy) and self.objective.learns.needs_scores:
            with self.stretch("scores"), evaluating(self.model), self.autocast():
                batch = self.passes.step[0].batch()
                assert isinstance(batch, Experience)
                self.ledger.label = OTHER
                self.objective.scored(self.model, batch)

    def enter_model(self) -> None:
        """Parameters and buffers, by what they are: the model's, the objective's and those of reward models."""
        judging = {name for judge in self.passes.judges for name in judge.own}
        for name, tensor in [*self.model.named_parameters(), *self.model.named_buffers()]:
            number = self.ledger.note(tensor)
            kind = COPY if ".originals." in f".{name}" else ADAPTER if ".adapters." in f".{name}." else BASE
            self.kinds.setdefault(number, JUDGE if name in judging else kind)
        self.kinds.update({self.ledger.note(parameter): ADAPTER for parameter in self.own.values()})
        for judge in self.passes.judges:
            model = judge.model
            self.judging += [] if model is None else [*model.parameters(), *model.buffers()]
            self.judging += [torch.empty(judge.beside, dtype=torch.uint8)] if judge.beside else []
        self.kinds.update({self.ledger.note(tensor): JUDGE for tensor in self.judging})

    def enter_states(self) -> None:
        """The optimizer's states, as a step has left them."""
        with self.ledger.looking_away():
            for parameter in self.trained.values():
                parameter.grad = torch.zeros_like(parameter)
            self.optimizer.step()
            self.optimizer.zero_grad()
        self.name_states()

    def name_states(self) -> None:
        """What the optimizer remembers, by number."""
        states = [value for state in self.optimizer.state.values() for value in state.values()]
        self.kinds.update({self.ledger.note(value): OPTIMIZER for value in states if isinstance(value, Tensor)})

    def step(self, works: Sequence[Workload]) -> None:
        """One optimizer step as the loop makes it, of these micro-batches."""
        self.model.train()
        for number, batch in enumerate(self.batches(works)):
            self.ledger.label = FORWARD
            with self.autocast(), self.loss_apart():
                loss = self.objective(self.model, batch) / max(1, batch.num_supervised)
            if self.extra_loss is not None and number == 0:
                loss = loss + self.extra_loss()
            self.forwards_end.append(len(self.ledger.events))
            self.ledger.label = BACKWARD
            loss.backward()
            del loss, batch
            self.backwards_end.append(len(self.ledger.events))
        self.ledger.label = UPDATE
        found = [parameter.grad for parameter in self.trained.values() if parameter.grad is not None]
        self.kinds.update({self.ledger.note(gradient): GRADIENT for gradient in found})
        clip_grads_with_norm_(self.trained.values(), 1.0, get_total_norm(found))
        del found
        self.optimizer.step()
        self.name_states()
        self.optimizer.zero_grad()

    def batches(self, works: Sequence[Workload]) -> Iterator[Batch]:
        """Micro-batches of these shapes; where a value model has an adapter of its own, its pass follows each."""
        value = self.objective.value if isinstance(self.objective, Policy) else None
        for work in works:
            batch = work.batch()
            yield batch
            if value is not None and value.adapter is not None and isinstance(batch, SampledShapes):
                yield for_values(batch)

    @contextmanager
    def loss_apart(self) -> Iterator[None]:
        """What is made after the backbone has answered is the loss's."""

        def answered(*_: Any) -> None:
            self.ledger.label = LOSS

        *_, last = backbones(self.model).values()
        handle = last.register_forward_hook(answered)
        try:
            yield
        finally:
            handle.remove()

    @torch.no_grad()
    def evaluate(self, work: Workload) -> None:
        """Log-probabilities of a batch of evaluation rows, or of their classes, or how their answers compare."""
        self.ledger.label = OTHER
        batch, chunk = work.batch(), chunk_size(self.vocabulary, self.kind)
        with evaluating(self.model), self.autocast():
            if isinstance(batch, LabelledBatch):
                row_scores(self.model, batch)
                return
            if isinstance(self.objective, Comparing) and isinstance(batch, PreferenceBatch):
                self.objective.measured(self.model, batch)
                return
            hidden_BTD = last_hidden(self.model, **batch.inputs())
            at, labels = batch.targets()
            chunked_log_probs(hidden_BTD.flatten(0, 1)[at], labels, partial(logits, self.model), chunk)

    @torch.no_grad()
    def judge(self, judge: Judge) -> None:
        """Answers are read by a reward model; its head makes a number of each."""
        self.ledger.label = OTHER
        model = self.model if judge.model is None else judge.model
        with evaluating(model), self.autocast():
            last_hidden(model, **judge.work.batch().inputs())

    @property
    def vocabulary(self) -> int:
        return self.model.config.get_text_config(decoder=True).vocab_size

    def autocast(self) -> AbstractContextManager[object]:
        """The precision's context, on the device that shapes pretend to be on."""
        return nullcontext() if self.precision.name == "fp32" else torch.autocast("cpu", self.precision.dtype)
